# Needs make and Python >= 3.11; everything else is installed into .venv. `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first of these that runs and is new enough; choose another with `make PYTHON=/path/to/python ...`.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
WORKERS ?= 2

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "no Python >= 3.11 found (looked for python3.13, python3.12, python3.11, python3):" \
			"install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing into $(VENV); torch makes this take minutes'
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: install
install: $(READY)  ## make .venv with every dependency, pinned by constraints.txt

.PHONY: quickstart
quickstart: $(READY)  ## declare, store, train and generate on a small data set, on a CPU
	$(BIN)/python examples/quickstart/quickstart.py

.PHONY: add-modality
add-modality: $(READY)  ## grow what make quickstart trained by one modality of each kind
	FOURM=$(BIN)/fourm PYTHON=$(BIN)/python examples/add_modality/run.sh --check

# One thread per worker: two workers on two cores otherwise run four threads each against the other.
.PHONY: test
test: $(READY)  ## run every test and doctest
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

.PHONY: lint
lint: $(READY)  ## ruff, mypy --strict, pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

.PHONY: docs
docs: $(READY)  ## write the generated reference pages and build the site into site/
	$(BIN)/python docs/generate_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: bench
bench: $(READY)  ## run every benchmark in bench/, and name those that broke a promise
	broken=; for script in $$(grep -l __main__ bench/*.py); do \
		echo "== $$script"; $(BIN)/python $$script || broken="$$broken $$script"; \
	done; test -z "$$broken" || { echo "promises broken:$$broken" >&2; exit 1; }

# An empty environment in another directory: nothing of the checkout may be what makes it work.
.PHONY: check-wheel
check-wheel: $(READY)  ## build the wheel, install it elsewhere and run `fourm explain` there
	tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && set -e; \
	$(BIN)/python -m pip wheel -qq --no-deps --wheel-dir "$$tmp" .; \
	$(BIN)/python -m venv "$$tmp/venv"; \
	"$$tmp/venv/bin/python" -m pip install -qq --constraint constraints.txt "$$tmp"/*.whl; \
	printf '%s\n' 'version: 1' 'modalities:' \
		'  weather: {kind: vector, dim: 3, ranges: [[-40, 60], [0, 100], [0, 60]], bins: 64}' \
		> "$$tmp/modalities.yaml"; \
	cd "$$tmp" && venv/bin/fourm explain modalities.yaml

.PHONY: clean
clean:  ## remove everything that was built, .venv included
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
