# Everything sets itself up: a fresh machine needs Python 3.11 or newer, make and terraform.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Tests wait for brokers most of the time, so several run at once, each worker with brokers of its own; WORKERS=0: one by one.
WORKERS ?= 3
SIDE_BY_SIDE = -n $(WORKERS) --dist loadfile
export PYTHONDONTWRITEBYTECODE :=
# Compiled when the engine is installed, if there is a C compiler.
RECORD_CODE = engine/hatch_build.py engine/src/clusterlink_engine/wire/_cutting.c

.DEFAULT_GOAL := help
.PHONY: help setup check fix test test-all demo bench docs proto lock release clean

help: ## Shows this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: .venv/.ready .venv-proto/.ready ## Creates .venv/ with everything (the other commands call it).

.venv/.ready: requirements/dev.txt proto/pyproject.toml engine/pyproject.toml provider/pyproject.toml $(RECORD_CODE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "clusterlink needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps -e proto -e engine -e provider
	@touch $@

.venv-proto/.ready: requirements/proto.txt
	$(PYTHON) -m venv .venv-proto
	.venv-proto/bin/python -m pip install --quiet --require-hashes -r requirements/proto.txt
	@touch $@

check: setup ## Format, lint, types, layers.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fix: setup ## Formats, and mends what the linter can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup ## Runs the tests (real Kafka, real terraform), without the slow ones.
	$(BIN)/pytest -m "not slow" $(SIDE_BY_SIDE) $(ARGS)

test-all: setup ## Runs all tests, the slow ones too.
	$(BIN)/pytest $(SIDE_BY_SIDE) $(ARGS)

demo: setup ## Two Kafka clusters, the engine, terraform apply: a verified mirror in about a minute.
	$(BIN)/clusterlink demo $(ARGS)

bench: setup ## Measures the engine beside MirrorMaker 2 and the machine's limits; CASE=w1 for one case (docs/benchmarks.md).
	$(BIN)/python -m benchmarks $(CASE) $(ARGS)

docs: setup ## Writes the generated pages of docs/ anew.
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/generate_registry.py

proto: .venv-proto/.ready ## Generates the message classes anew.
	.venv-proto/bin/python proto/generate.py

lock: setup ## Resolves the dependencies anew and writes requirements/*.txt.
	$(BIN)/python requirements/lock.py

release: .venv-release/.ready ## Builds the provider for a registry, for this platform: zip, checksums, manifest in dist/.
	.venv-release/bin/python provider/release.py $(ARGS)

.venv-release/.ready: requirements/release.txt proto/pyproject.toml provider/pyproject.toml
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/python -m pip install --quiet --require-hashes -r requirements/release.txt
	.venv-release/bin/python -m pip install --quiet --no-build-isolation --no-deps -e proto -e provider
	@touch $@

clean: ## Removes what make created.
	rm -rf .venv .venv-proto .venv-release .mypy_cache .ruff_cache .pytest_cache .hypothesis engine/src/clusterlink_engine/wire/*.so
