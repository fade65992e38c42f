# Two commands for a fresh machine with Python 3.11, git and make: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN = .venv/bin/python

.PHONY: demo test clean

demo: .venv/ready
	$(RUN) foto_fer.py test_photo va --csv out/photos.csv
	$(RUN) -m fer_lib.demo_video out/demo.mp4
	$(RUN) video_fer.py out/demo.mp4 va

test: .venv/ready
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pytest

.venv/ready: requirements.txt requirements-dev.txt tools/setup_venv.py
	$(PYTHON) tools/setup_venv.py

clean:
	rm -rf .venv out
