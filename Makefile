# Needs Python >= 3.11 and make; the rest is installed once into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check

export TF_CPP_MIN_LOG_LEVEL ?= 3
export KERAS_BACKEND ?= tensorflow

.PHONY: demo test lint docs results

demo: $(VENV)/installed
	$(BIN)/python -m reproductions run attention --preset quick --seeds 1 --out build/demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -W --keep-going docs docs/_build/html

results: $(VENV)/installed
	$(BIN)/python -m reproductions report

$(VENV)/installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { echo \
	  "hyperkeras needs Python >= 3.11, and $(PYTHON) is" \
	  "$$($(PYTHON) --version 2> /dev/null || echo not found)." \
	  "Name another one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[tests,reproductions]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) -e '.[docs]'
	@touch $@
