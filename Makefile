# What a person can do here. Every target makes its own environment in .venv on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# On Linux PyPI's torch brings CUDA; make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu takes the CPU build.
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
RUN := $(VENV)/.run
DEV := $(VENV)/.dev
PEERS := $(VENV)/.peers

.PHONY: help demo test lint types bench performance docs clean

help:
	@echo "make demo         install, run the article's experiment, make the report (a minute after the installation)"
	@echo "make test         install, run the tests"
	@echo "make lint         ruff and mypy"
	@echo "make types        mypy alone"
	@echo "make bench        the benchmarks, once each, with asv"
	@echo "make performance  initbench beside PyTorch and JAX, in one run (ten to fifteen minutes of a quiet machine)"
	@echo "make docs         docs/initializers.md, and results/example-keepcoding from a finished make demo"
	@echo "make clean        remove the environment and the caches"

$(RUN): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "initbench needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) --no-deps torch
	@echo "installing the other requirements ..."
	$(PIP) --quiet -e .
	touch $(RUN)

$(DEV): $(RUN)
	$(PIP) --quiet -e ".[dev]"
	touch $(DEV)

$(PEERS): $(RUN)
	$(PIP) --quiet -e ".[peers]"
	touch $(PEERS)

demo: $(RUN)
	$(BIN)/initbench run initbench/presets/keepcoding.toml

test: $(DEV)
	$(BIN)/python -m pytest -n 2

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

types: $(DEV)
	$(BIN)/mypy

bench: $(DEV)
	$(BIN)/asv machine --yes
	$(BIN)/asv run --python=same --quick --show-stderr

performance: $(PEERS)
	$(BIN)/python -m benchmarks.peers --json results/peers.json

docs: $(DEV)
	$(BIN)/python -m tools.make_initializers_page
	$(BIN)/python tools/make_example.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .asv
