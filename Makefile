# Everything from nothing: each target makes the virtual environment it needs.
# Share one environment between checkouts with `make VENV=/path/to/venv test`.

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
# Side by side, with one thread each: two that compute on the same cores wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n logical --maxprocesses 4 --dist worksteal
DEMO := --recipe demo --pipeline quick --strategy random entropy --pairs 200:1 \
	--references none all --out results/demo

.PHONY: demo test lint fast-test clean help

help:
	@echo "make demo       install, generate images, run two strategies, show the leaderboard"
	@echo "make test       install, check style and types, run every test"
	@echo "make fast-test  the tests that take less than ten seconds each"
	@echo "make lint       ruff and mypy"
	@echo "make clean      remove what can be made again: environment, caches, generated data; results stay"

demo: $(VENV)/.runs
	$(RUN) local_evaluation.py $(DEMO)

test: lint
	$(PYTEST)

fast-test: $(VENV)/.tests
	$(PYTEST) -m "not slow"

lint: $(VENV)/.tests
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

$(VENV)/.runs: requirements.txt requirements-evaluator.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-evaluator.txt
	touch $@

$(VENV)/.tests: $(VENV)/.runs requirements-dev.txt requirements-label.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv data/sheets-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
