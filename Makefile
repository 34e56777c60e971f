# Everything a fresh checkout needs: each target makes the environment (.venv) first if it is missing or out of date.
#   PYTHON=python3.12   the interpreter to make .venv with (3.11 or newer)
#   ARGS="seed=1"       appended to the command of `train`, `test`, `test-slow` and `test-slurm`
#   JOBS=4              test processes

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup train test test-slow test-slurm check bench tables format clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
JOBS ?= 2
REGISTRATION := outputs/quickstart_registration/best_model_registration_id-1.pth
# Fewer women and epochs than the quick start has: all of it within six minutes on two cores, even slow ones. One
# thread computes and leaves a core to who reads images: with two, each waits for the other (95 s an epoch, not 78).
QUICK := dataset.generator.num_women=1800

# The first of these that runs and is new enough (a name on the path may be a dead link or a version manager's shim).
NEW_ENOUGH := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,\
	$(shell $(name) -c '$(NEW_ENOUGH)' 2>/dev/null && echo $(name))))
TORCH = $(shell grep '^torch==' constraints.txt)
PIP = PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq --constraint constraints.txt

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv with the tested releases (every target does it when needed)

# The stamp is removed first and written last: an environment without one is incomplete and is made again.
$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c '$(NEW_ENOUGH)' 2>/dev/null; then \
		echo "mammorisk needs Python 3.11 or newer with venv and pip (Debian: the package python3-venv)." >&2; \
		echo "Found: $(or $(PYTHON),python3), $$($(or $(PYTHON),python3) --version 2>/dev/null || echo 'which does not run')." >&2; \
		echo "Name another one: make setup PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi
	@if [ -e $(STAMP) ]; then echo "Updating $(VENV): pyproject.toml or constraints.txt has changed."; \
	else echo "Making $(VENV) with $$("$(PYTHON)" --version): some minutes, once."; "$(PYTHON)" -m venv --clear $(VENV); fi
	@rm -f $(STAMP)
	@echo "  1/2 $(TORCH)"
	@$(PIP) "$(TORCH)"
	@echo "  2/2 mammorisk and its other dependencies"
	@$(PIP) --editable ".[dev]"
	@touch $(STAMP)

train: $(STAMP) $(REGISTRATION)  ## train MammoRegNet, then LMV-Net with it, on the phantom quick start: minutes on two cores
	OMP_NUM_THREADS=1 $(BIN)/mammorisk-train model=lmv_net experiment=quickstart registration=mammoregnet_small \
		registration.checkpoint=$(REGISTRATION) registration.cache=data/displacements $(QUICK) trainer.num_epochs=3 $(ARGS)

$(REGISTRATION): | $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/mammorisk-register recipe=quickstart $(QUICK) hydra.run.dir=$(@D)

test: $(STAMP)  ## run the tests, all but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-slow: $(STAMP)  ## run the slow tests: a clean install from a wheel, long trainings
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n $(JOBS) --dist worksteal $(ARGS)

test-slurm: $(STAMP)  ## run the tests on a real Slurm: the one that answers, or one started here (Debian, root)
	tools/local_slurm.sh up
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slurm tests/slurm --durations=0 $(ARGS); status=$$?; tools/local_slurm.sh down; exit $$status

check: $(STAMP)  ## lint, format, types, the measures of CONTRIBUTING.md, the table of models; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/measure.py
	$(BIN)/python tools/model_table.py --check
	$(BIN)/python tools/statistics_table.py --check

bench: $(STAMP)  ## time the work against plain variants and the last stored result: some twenty minutes (ARGS="--only steps")
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/bench.py $(ARGS)

tables: $(STAMP)  ## write the tables of models and of measures into README.md and docs/
	$(BIN)/python tools/model_table.py
	$(BIN)/python tools/statistics_table.py

format: $(STAMP)  ## format the code and fix what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove .venv, caches and build output; runs (outputs/, multirun/, wandb/) and data/ stay
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage *.egg-info
	find mammorisk tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Kept: outputs/, multirun/, wandb/ and data/ hold your runs and cohorts; remove them yourself."
