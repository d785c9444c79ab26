# One verb each, the same on a laptop and in CI.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
TRITON_VENV := .venv-triton
WORKSPACE ?= workspace
PRESET ?= quick
JOBS ?= 2
PIP := -m pip --disable-pip-version-check

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help setup demo test check format compile clean

help: ## Show the verbs.
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

setup: $(VENV)/.installed $(TRITON_VENV)/.installed ## Create both virtual environments.

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing the packages: two to five minutes, quietly."
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python $(PIP) install --quiet --constraint constraints.txt \
		--editable '.[train,pipelines,tracking,quality,client,ui,dev]'
	touch $@

# A server side of its own: the Triton wheel needs numpy < 2. It finds mmr by PYTHONPATH.
$(TRITON_VENV)/.installed: serving/requirements-triton.txt
	test -x $(TRITON_VENV)/bin/python || $(PYTHON) -m venv $(TRITON_VENV)
	$(TRITON_VENV)/bin/python $(PIP) install --quiet --requirement serving/requirements-triton.txt
	touch $@

demo: setup ## Generate a catalogue, train, prove, release, deploy and search it.
	@echo "This takes 6 to 8 minutes on two quiet cores: data, four trainings, gate, release, Triton."
	dvc repro
	mmr run data/prepared --preset $(PRESET) --workspace $(WORKSPACE)

test: setup ## Run the tests, JOBS at a time.
	pytest --numprocesses $(JOBS) --no-loadscope-reorder

check: setup ## Formatting, lint, types, import rules, pipeline of DVC, commands named in the docs.
	ruff format --check
	ruff check
	mypy
	lint-imports
	dvc stage list
	pytest -q tests/test_docs.py

format: setup ## Format the code.
	ruff format
	ruff check --fix

compile: setup ## Compile the pipelines for a Kubeflow cluster.
	mkdir -p build
	mmr compile retrain --out build/retrain.yaml
	mmr compile refresh --out build/refresh.yaml

clean: ## Remove caches and build outputs; environments, data and workspaces stay.
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path ./$(VENV) -prune -o -path ./$(TRITON_VENV) -prune -o \
		-name __pycache__ -type d -print | xargs -r rm -rf
