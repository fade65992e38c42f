# Two commands for a fresh machine with Python 3.11, git and make: `make demo` and `make test`. `make notebooks` runs
# every notebook on demo data, `make notebooks DATA=FER_DATA` on the data sets.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN = .venv/bin/python

.PHONY: demo test notebooks clean

demo: .venv/ready
	$(RUN) foto_fer.py test_photo va --csv out/photos.csv
	$(RUN) -m fer_lib.demo_video out/demo.mp4
	$(RUN) video_fer.py out/demo.mp4 va

test: .venv/ready
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pytest

notebooks: .venv/ready
	$(RUN) -m fer_lib notebook all $(if $(DATA),-p DATA "$(DATA)")

.venv/ready: requirements.txt requirements-dev.txt tools/setup_venv.py
	$(PYTHON) tools/setup_venv.py

clean:
	rm -rf .venv out
