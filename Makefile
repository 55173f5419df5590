# Commands for users and developers. Each target sets up its own requirements.
.DEFAULT_GOAL := help
SHELL := /bin/bash

# The first supported interpreter; to choose another: make test PYTHON=python3.12
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python; do \
	$$p -c '$(SUPPORTED)' >/dev/null 2>&1 && { echo $$p; break; }; done)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

VENV ?= .venv
PEERS := .venv-peers
MUTATION := .venv-mutation
GRADIENTS := benchmarks/gradients.txt
REACHED := benchmarks/coverage.txt
RUN := $(VENV)/bin/python
# Requirements of a run; requirements.lock adds those of tests, linters and screenshots (`make dev`).
LOCKS := requirements-run.lock requirements-uv.lock
# Written last, so that an interrupted setup starts again.
READY := $(VENV)/ready-$(VERSION)
DEV := $(VENV)/dev-$(VERSION)
# uv compiles what it installs, so that the first command is no slower than the second.
UV := VIRTUAL_ENV=$(VENV) UV_COMPILE_BYTECODE=1 $(VENV)/bin/uv
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# pip: print errors only, and no warning about an index that lacks a package which another index has.
ERRORS_ONLY := --quiet --quiet
# Container images often set PYTHONDONTWRITEBYTECODE: then each process compiles its imports again, which adds
# 0.8 s at the end of every run.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup dev cluster reproduce reproduce-full update-results docs test test-fast test-kernels test-cluster test-peers coverage mutation gradcheck lint format ui server play bench bench-quickstart screenshots bench-reliability tinyshakespeare lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / && $$1 != "help" \
		{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ First steps

setup: $(READY)  ## create .venv with the locked requirements

$(READY): $(LOCKS)
	@$(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { echo \
		"make: expected Python 3.11, 3.12 or 3.13, got '$(PYTHON)' $(VERSION); name one: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; \
		exit 1; }
	@echo "setting up $(VENV) with Python $(VERSION)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install $(ERRORS_ONLY) --no-deps --require-hashes -r requirements-uv.lock
	@$(UV) pip install --quiet --no-deps --require-hashes -r requirements-run.lock
	@$(RUN) -m compileall -q src
	@touch $@

reproduce: setup  ## run the sonnets and three experiments, check the claims
	@$(RUN) -m src.reproduce

test: dev  ## run every test
	@$(RUN) -m tests.kernels --fast
	@$(RUN) -m pytest -n 2 --dist loadfile

ui: setup  ## serve the MLflow UI on this machine
	@$(RUN) -m src.ui

play: setup  ## serve a page that shows text of two runs side by side
	@$(RUN) -m src.play

##@ More runs

reproduce-full: setup  ## run every experiment at full size; WARANDPEACE=FILE
	@$(RUN) -m src.reproduce preset=full $(if $(WARANDPEACE),warandpeace=$(WARANDPEACE)) $(if $(DATA),tinyshakespeare=$(DATA))

tinyshakespeare: setup  ## train for 132 s, compare with nanoGPT; DATA=FILE
	@$(RUN) -m src.reproduce preset=full experiments=[tinyshakespeare] $(if $(DATA),tinyshakespeare=$(DATA))
	@$(RUN) -m src.experiments.results outputs/reproduction

update-results: setup  ## write the results of reproduce to experiments/
	@$(RUN) -m src.experiments.results $(wildcard outputs/reproduction)

server: setup  ## run an MLflow server, for sweeps on several machines
	@$(RUN) -m src.server

cluster: $(VENV)/cluster-$(VERSION)  ## install the requirements of SLURM, Ray and PostgreSQL

# submitit, Ray, PostgreSQL's driver.
$(VENV)/cluster-$(VERSION): $(READY) requirements-cluster.lock
	@$(UV) pip install --quiet --no-deps --require-hashes -r requirements-cluster.lock
	@touch $@

##@ Tests and code

dev: $(DEV)  ## install the requirements of tests and linters

$(DEV): $(READY) requirements.lock
	@$(UV) pip install --quiet --no-deps --require-hashes -r requirements.lock
	@touch $@

test-fast: dev  ## run the tests that need no training run
	@$(RUN) -m pytest -n 2 --dist loadfile -m "not slow"

test-kernels: dev  ## run the numerical tests under every processor's BLAS
	@$(RUN) -m tests.kernels

test-cluster: dev $(VENV)/cluster-$(VERSION)  ## run the tests of sweeps on a cluster
	@$(RUN) -m pytest tests/integration/test_cluster.py

test-peers: $(PEERS)/ready-$(VERSION)  ## compare the mathematics and exports with PyTorch
	@$(PEERS)/bin/python -m pytest tests/rnn/test_peers.py tests/models/test_torch_export.py

# PyTorch is used only for comparison, in a separate environment; pip selects the build for this machine.
$(PEERS)/ready-$(VERSION): $(READY)
	@$(PYTHON) -m venv --clear $(PEERS)
	@VIRTUAL_ENV=$(PEERS) $(VENV)/bin/uv pip install --quiet --no-deps --require-hashes -r requirements.lock
	@$(PEERS)/bin/python -m pip install --quiet torch==2.13.0
	@touch $@

coverage: dev  ## run every test; fail below 95% coverage of src
	@$(RUN) -m coverage erase
	@$(RUN) -m coverage run -m pytest -n 2 --dist loadfile
	@$(RUN) -m coverage combine --quiet
	@$(RUN) -m coverage report > $(REACHED).part; failed=$$?; cat $(REACHED).part; mv $(REACHED).part $(REACHED); exit $$failed

mutation: $(MUTATION)/ready-$(VERSION)  ## run the mutation tests of src/rnn and src/data
	@$(MUTATION)/bin/python -m benchmarks.mutation $(ONLY)

# mutmut changes a copy of the code, one change at a time. It has a separate environment because of its many
# dependencies for terminal output.
$(MUTATION)/ready-$(VERSION): $(READY)
	@$(PYTHON) -m venv --clear $(MUTATION)
	@VIRTUAL_ENV=$(MUTATION) $(VENV)/bin/uv pip install --quiet --no-deps --require-hashes -r requirements.lock
	@$(MUTATION)/bin/python -m pip install --quiet mutmut==3.8.1
	@touch $@

gradcheck: setup  ## check every cell's gradients by complex steps
	@$(RUN) -m src.gradcheck > $(GRADIENTS).part; failed=$$?; cat $(GRADIENTS).part; mv $(GRADIENTS).part $(GRADIENTS); exit $$failed

lint: dev  ## run ruff and the strict type checker
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

format: dev  ## format the code and apply automatic fixes
	@$(RUN) -m ruff format .
	@$(RUN) -m ruff check --fix .

##@ Benchmarks and documentation

bench: $(PEERS)/ready-$(VERSION)  ## measure the speed against PyTorch, and all overheads
	@$(PEERS)/bin/python -m benchmarks.throughput
	@$(RUN) -m benchmarks.tracking_cost
	@$(RUN) -m benchmarks.probing_cost
	@$(RUN) -m benchmarks.sweep_time
	@$(RUN) -m benchmarks.evaluation_cost

bench-quickstart: setup  ## measure the time to the first sample
	@$(RUN) -m benchmarks.cold_start
	@$(RUN) -m benchmarks.quickstart

bench-reliability: setup  ## measure kills, outages, a text of 1 GB, equal bits
	@$(RUN) -m benchmarks.resume
	@$(RUN) -m benchmarks.outage
	@$(RUN) -m benchmarks.large_corpus
	@$(RUN) -m benchmarks.determinism
	@$(RUN) -m benchmarks.kernels
	@$(RUN) -m benchmarks.reliability

docs: setup  ## regenerate the code, output and figures of docs/
	@$(RUN) -m docs.figures
	@$(RUN) -m docs.build

screenshots: dev  ## make the README's screenshots again, with Chromium
	@$(RUN) -m benchmarks.screenshots

##@ Maintenance

lock: setup  ## resolve the requirements again
	@$(UV) pip compile --quiet --universal --upgrade --generate-hashes --python-version 3.11 --group dev \
		--custom-compile-command "make lock" -o requirements.lock pyproject.toml
	@$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--constraint requirements.lock --custom-compile-command "make lock" -o requirements-run.lock pyproject.toml
	@$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --group cluster \
		--constraint requirements.lock --custom-compile-command "make lock" -o requirements-cluster.lock \
		pyproject.toml
	@echo "uv>=0.9" | $(UV) pip compile --quiet --universal --upgrade --generate-hashes --python-version 3.11 \
		--custom-compile-command "make lock" -o requirements-uv.lock -

clean:  ## remove environments and caches; keep data/ and outputs/
	rm -rf .venv .venv-peers .venv-mutation .coverage .mutation .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
