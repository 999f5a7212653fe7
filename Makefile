# Every target sets up what it needs by itself: a virtual environment in .venv, with the versions of
# constraints.txt.
.DEFAULT_GOAL := help
.PHONY: help demo test check fmt services-test chaos bench screenshots clean

# the first Python on the path that is new enough; say PYTHON=… to choose another
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$python >/dev/null && \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && \
	echo $$python && break; done)
BIN := .venv/bin
# Most of a slow test is waiting, so they go side by side; one at a time, in the order of conftest.py.
PARALLEL := -n 6 --maxschedchunk 1
READY := .venv/.ready
SEED ?= 1
MINUTES ?= 3
EXPORTS ?= 200

help:  ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' Makefile

demo: $(READY)  ## Export real MP4 files end to end on this machine, against the emulator
	@$(BIN)/uplynk-export demo

test: $(READY)  ## Run the tests that need nothing but Python
	$(BIN)/pytest -m "not services" $(PARALLEL)

check: $(READY)  ## Check format, lint, types and the directions of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(READY)  ## Format the code, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

services-test: $(READY)  ## Run the integration and acceptance tests on the real Redis and PostgreSQL
	$(BIN)/python -m tests.services $(BIN)/pytest $(PARALLEL) tests/chaos tests/acceptance \
		tests/integration

chaos: $(READY)  ## Let a storm come over workers and services: SEED=1 MINUTES=3 EXPORTS=200 ONLY=workers JSON=path
	$(BIN)/python -m tests.chaos --seed $(SEED) --minutes $(MINUTES) --exports $(EXPORTS) \
		$(if $(ONLY),--only $(ONLY)) $(if $(JSON),--json $(JSON))

bench: $(READY)  ## Measure beside a worker as in Celery's documentation, an hour: ONLY=lifecycle MOST=100000
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(MOST),--most $(MOST))

screenshots: $(READY)  ## Take the pictures of the docs anew, in Chromium: ONLY=console
	$(BIN)/python -m tests.services $(BIN)/python -m tests.screenshots $(ONLY)

clean:  ## Remove the virtual environment, caches and whatever the demo left
	rm -rf .venv var build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
		.hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; say PYTHON=/path/to/it"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[console,dev,flower,tracing,webvtt]'
	@touch $@
