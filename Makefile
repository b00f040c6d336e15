# What a person can do here. Every target makes its own environment in .venv on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test lint types bench docs clean

help:
	@echo "make demo   install, run the article's experiment, make the report (about a minute after the installation)"
	@echo "make test   install, run the tests"
	@echo "make lint   ruff and mypy"
	@echo "make bench  the benchmarks, once each, with asv"
	@echo "make docs   the figures and tables of docs/ and results/example-keepcoding again"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "initbench needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

demo: $(READY)
	$(BIN)/initbench run initbench/presets/keepcoding.toml

test: $(READY)
	$(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

types: $(READY)
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/asv machine --yes
	$(BIN)/asv run --python=same --quick --show-stderr

docs: $(READY)
	$(BIN)/python tools/make_example.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .asv
