# The targets for users and contributors. Each creates the environment .venv on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# On Linux PyPI's torch includes CUDA; make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu installs the CPU build.
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
RUN := $(VENV)/.run
DEV := $(VENV)/.dev
PEERS := $(VENV)/.peers

# `make bench` measures the samplers on one thread; docs/explanation/performance.md explains the comparison.
BASE = $(shell base=$$(git merge-base main HEAD 2>/dev/null || git merge-base origin/main HEAD 2>/dev/null); \
	[ "$$base" != "$$(git rev-parse HEAD)" ] && echo $$base || echo HEAD~1)
QUICK = ^samplers\.Distributions\.time_.*, 1\)$$
FACTOR = 1.3
ASV := $(BIN)/asv

.PHONY: help demo test test-all soak lint types bench bench-quick bench-all bench-local performance gpu gpu-wheels scaling docs site clean

help:
	@echo "make demo         install, run the article's experiment, write its report (a minute after the installation)"
	@echo "make test         install, run all tests but the slow ones (five minutes on two cores)"
	@echo "make test-all     all tests: also sweeps, simulations, clusters (a quarter of an hour more)"
	@echo "make soak         100 kills of an experiment, 100,000 mutated grids, IDX files and parts (two hours)"
	@echo "make lint         ruff, mypy, and the terminology check (docs/explanation/glossary.md)"
	@echo "make types        mypy only"
	@echo "make bench        asv: compare this commit's samplers with those of main, or of BASE=COMMIT"
	@echo "make bench-quick  run these benchmarks once, to check that they work"
	@echo "make bench-all    asv: all benchmarks on this commit; results in results/asv, pages in results/asv-html"
	@echo "make bench-local  time the hot paths, and compare with the previous time"
	@echo "make performance  compare initbench with PyTorch and JAX (up to an hour on an idle machine)"
	@echo "make gpu          check the GPU path: its tests, its results beside the CPU's, its speed (at most eight minutes)"
	@echo "make gpu-wheels   fetch the requirements of make gpu, without torch, for machines without a network"
	@echo "make scaling      simulate training on a Dask cluster of 1,000 workers (five minutes)"
	@echo "make docs         regenerate the pages of docs/, examples/ and, after make demo, results/example-keepcoding"
	@echo "make site         build the documentation as a site in site/, which works from the disk: open site/index.html"
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
	$(PIP) --quiet -e ".[dev-peers]"
	touch $(PEERS)

demo: $(RUN)
	$(BIN)/initbench run keepcoding
	@echo "To see it: $(BIN)/initbench open keepcoding. Without the path: . $(BIN)/activate"

TEST = $(BIN)/python -m pytest -n 2 --dist worksteal

test: $(DEV)
	$(TEST)

test-all: $(DEV)
	$(TEST) -m ""

soak: $(DEV)
	INITBENCH_SOAK_KILLS=100 $(TEST) -m "" tests/results/test_faults.py tests/results/test_folder.py \
		tests/results/test_locking.py tests/execution/test_cluster.py
	INITBENCH_SOAK_CASES=100000 $(TEST) -m "" -k mutated tests/test_fuzz.py

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/check_words.py
	$(BIN)/mypy

types: $(DEV)
	$(BIN)/mypy

bench: $(DEV)
	$(ASV) machine --yes
	$(ASV) continuous --config asv.quick.json --bench '$(QUICK)' --factor $(FACTOR) --show-stderr $(BASE) HEAD

bench-quick: $(DEV)
	$(ASV) machine --yes
	$(ASV) run --config asv.quick.json --python=same --quick --show-stderr --bench '$(QUICK)'

bench-all: $(DEV)
	$(ASV) machine --yes
	$(ASV) run --show-stderr HEAD^!
	$(ASV) publish

bench-local: $(DEV)
	$(BIN)/python -m pytest tests/training/test_speed.py -m "" --benchmark-enable --benchmark-autosave --benchmark-compare

performance: $(PEERS)
	$(BIN)/python -m benchmarks.peers --json results/peers.json

# make gpu takes PYTHON's own torch, with CUDA, and needs no network: make gpu-wheels has fetched the rest.
WHEELS := wheels
GPU := .venv-gpu
GPU_PYTHON_VERSION ?= $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

gpu-wheels:
	$(PYTHON) -m pip download --disable-pip-version-check --no-deps --only-binary :all: --dest $(WHEELS) \
		--python-version $(GPU_PYTHON_VERSION) --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
		--platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform any \
		-c constraints.txt -r benchmarks/gpu_requirements.txt
	@du -sh $(WHEELS)

gpu:
	$(PYTHON) -c 'import torch; print("torch", torch.__version__)'
	$(PYTHON) -m venv --system-site-packages $(GPU)
	echo "import site; site.addsitedir('$$($(PYTHON) -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))')')" \
		> $$($(GPU)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch_of_python.pth
	$(GPU)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-index --find-links $(WHEELS) \
		-r benchmarks/gpu_requirements.txt
	timeout 450 $(GPU)/bin/python -m benchmarks.gpu $(GPU_OPTIONS)

scaling: $(DEV)
	$(BIN)/python -m benchmarks.cluster --workers 1000 --processes 2 --cells 100000 --width 20 --seconds 20

docs: $(DEV)
	$(BIN)/python -m tools.make_initializers_page
	$(BIN)/python -m tools.make_models_page
	$(BIN)/python -m tools.make_signal_page
	$(BIN)/python -m tools.make_architecture_page
	$(BIN)/python -m tools.make_grid_page
	$(BIN)/python -m tools.make_cli_page
	$(BIN)/python tools/make_example.py
	$(BIN)/python -m tools.make_notebooks

site: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .asv site
