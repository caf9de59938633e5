# `make demo` and `make test` set up .venv by themselves; the second time there is nothing left to set up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint format clean

help:
	@echo "make demo    learn from simulated images and show everything that comes out (overread-demo/)"
	@echo "make test    every check: format, lint, types, layers, tests"
	@echo "make lint    the checks without the tests"
	@echo "make format  put the code into its format"
	@echo "make clean   remove .venv and what the tools left behind"

demo: $(VENV)/.installed
	$(BIN)/overread demo

# One failing check does not hide another; pytest comes last, so that its summary is the last thing said.
test: $(VENV)/.installed-dev
	@status=0; \
	$(MAKE) --no-print-directory --keep-going lint || status=1; \
	$(BIN)/python -m pytest -n 2 --cov=overread || status=1; \
	exit $$status

lint: lint-format lint-code lint-types lint-layers

.PHONY: lint-format lint-code lint-types lint-layers

lint-format: $(VENV)/.installed-dev
	$(BIN)/ruff format --check

lint-code: $(VENV)/.installed-dev
	$(BIN)/ruff check

lint-types: $(VENV)/.installed-dev
	$(BIN)/mypy

lint-layers: $(VENV)/.installed-dev
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Overread needs Python 3.11 or newer; '$(PYTHON)' is not ($$($(PYTHON) --version 2>&1))." >&2; \
	    echo "Name a newer one, such as: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	    echo "'$(PYTHON)' cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@# Dependency groups need pip 25.1; what came with Python may be older.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml
	@echo "Installing Overread and what it stands on: some 5 GB, a few minutes, once."
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@
