# `make demo` and `make test` set everything up themselves; a second call does not.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: help setup demo test test-slow test-endurance lint clean

help:
	@echo "make demo              the whole method on sample videos (make demo CLIPS=folder: on your own)"
	@echo "make test              the fast tests;  make test-slow: the others;  make test-endurance: faults that take minutes each"
	@echo "make setup             only set up: .venv, pinned dependencies, detector weights, sample videos"

setup: $(READY)
	@$(BIN)/emovox fetch > /dev/null || echo "setup: go on without the sample videos; make demo CLIPS=folder needs none" >&2

$(READY): pyproject.toml constraints.txt overrides.txt
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is not here; install Python 3.11 or say make PYTHON=..." >&2; exit 1; }
	@echo "setup: creating $(VENV) with the pinned dependencies (about 6 GB, a few minutes)" >&2
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --constraint constraints.txt --override overrides.txt --compile-bytecode --editable '.[test]'
	@touch $(READY)

demo: setup
	$(BIN)/emovox demo $(if $(CLIPS),--clips "$(CLIPS)")

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m "slow and not endurance" --durations=25

test-endurance: setup
	$(BIN)/python -m pytest -m endurance

lint: setup
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache
