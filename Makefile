# `make demo` and `make test` set everything up themselves; a second call does not.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

# The version of a Python, or nothing if it does not run (as with some pyenv shims), is not supported or has no venv module.
version = $(shell $(1) -c 'import ensurepip, sys, venv; (3, 11) <= sys.version_info < (3, 14) and print(sys.version.split()[0])' 2>/dev/null)
# The Python of the environment: the one it was made with, else the newest here; `make PYTHON=...` takes another.
HAS := $(call version,$(BIN)/python)
PYTHON ?= $(if $(HAS),$(BIN)/python,$(firstword $(foreach python,python3.13 python3.12 python3.11,$(if $(call version,$(python)),$(python)))))
WANTS := $(call version,$(PYTHON))

.PHONY: help setup demo student test test-slow test-endurance fuzz lint clean

help:
	@echo "make demo              the whole method on sample videos (make demo CLIPS=folder: on your own)"
	@echo "make student CLIPS=folder   trains the shipped student anew, from a folder of clips for each speaker"
	@echo "make test              the fast tests;  make test-slow: the others;  make test-endurance: faults that take minutes each"
	@echo "make fuzz              mutated media files through index, label and predict, some minutes (make fuzz SEED=1 FILES=1000)"
	@echo "make setup             only set up: .venv, pinned dependencies, detector weights, sample videos"

setup: $(READY)
	@$(BIN)/emovox fetch > /dev/null || echo "setup: go on without the sample videos; make demo CLIPS=folder needs none" >&2

ifneq "$(HAS)" "$(WANTS)"
.PHONY: $(READY)  # an environment with another Python is made again
endif

$(READY): pyproject.toml constraints.txt overrides.txt
	@[ -n "$(WANTS)" ] || { echo "setup: $(or $(PYTHON),python3.11 to python3.13) does not run here, or is no Python 3.11 to 3.13 with venv; say make PYTHON=..." >&2; exit 1; }
	@echo "setup: creating $(VENV) with Python $(WANTS) and the pinned dependencies (about 6 GB, a few minutes)" >&2
	$(PYTHON) -m venv $(if $(filter $(HAS),$(WANTS)),,--clear) $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --constraint constraints.txt --override overrides.txt --compile-bytecode --editable '.[test]'
	@touch $(READY)

demo: setup
	$(BIN)/emovox demo $(if $(CLIPS),--clips "$(CLIPS)")

student: setup
	@[ -n "$(CLIPS)" ] || { echo "student: say make student CLIPS=folder, with a folder for each speaker in it" >&2; exit 1; }
	$(BIN)/emovox index --data "$(CLIPS)" --clips.held-out 0 --clips.validation 0 --out runs/student/manifest.parquet
	$(BIN)/emovox label --manifest runs/student/manifest.parquet --out runs/student/labels
	$(BIN)/emovox distill --labels runs/student/labels --recipe whisper --about docs/whisper_tiny_data.md --out runs/student/student

test: setup
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

test-slow: setup
	$(BIN)/python -m pytest -m "slow and not endurance" --durations=25

test-endurance: setup
	$(BIN)/python -m pytest -m endurance

fuzz: setup
	$(BIN)/python -m tests.support.fuzz $(if $(SEED),--seed $(SEED)) $(if $(FILES),--files $(FILES))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache
