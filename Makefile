# Two commands on a fresh machine: make demo, make test. Both set up .venv by themselves.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-all lint format clean

$(STAMP): pyproject.toml constraints/constraints.txt
	@echo "Setting up $(VENV) (about a minute and a half; 2 GB)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints/constraints.txt -e ".[dev]"
	@touch $(STAMP)

## The main job on real data that needs no download: train, prune, prove, fine-tune, tabulate.
demo: $(STAMP)
	$(BIN)/python -m experiments.run experiment=demo
	$(BIN)/python -m experiments.tables --experiment demo --print

## Everything that every change must pass.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -q -m "not long"

## Also what is too long for every change.
test-all: $(STAMP)
	$(BIN)/python -m pytest -n 2 -q

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
