# Needs Python >= 3.11 and make; the rest is installed once into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check

export TF_CPP_MIN_LOG_LEVEL ?= 3
export KERAS_BACKEND ?= tensorflow

.PHONY: demo test test-backends test-jax lint docs docs-check results

demo: $(VENV)/installed
	$(BIN)/python -m reproductions matrix --run --preset demo --out build/demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The table of docs/backends.md comes from these. On Linux PyTorch comes with CUDA, of several GB; without:
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make test-backends
test-backends: $(VENV)/installed-backends
	$(call on,tensorflow)
	$(call on,jax)
	$(call on,torch) tests/layers/rnn/test_fast_path_torch.py
	$(BIN)/python tests/backends_table.py build/backends

test-jax: $(VENV)/installed-jax
	$(call on,jax) tests/layers/rnn/test_fast_path_jax.py

# XLA compiles much, which with all its optimizations takes longer than the tests.
on = ALL_BACKENDS=1 KERAS_BACKEND=$(1) JAX_PLATFORMS=cpu \
	XLA_FLAGS=--xla_backend_optimization_level=0 \
	$(BIN)/python -m pytest -n 2 --dist worksteal \
	tests/test_backends.py tests/conformance --junitxml=build/backends/$(1).xml

lint: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -W --keep-going docs docs/_build/html

# Without running the notebooks, whose cells the tests run. No page may fetch a script or a style.
docs-check: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -q -W --keep-going -D nb_execution_mode=off \
	-D suppress_warnings=myst-nb.lexer docs docs/_build/check
	! grep -rE '(src|href)="(https?:)?//[^"]*\.(js|css|woff2?)"' docs/_build/check --include='*.html'

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

$(VENV)/installed-jax: $(VENV)/installed
	$(PIP) -e '.[jax]'
	@touch $@

$(VENV)/installed-backends: $(VENV)/installed
	$(PIP) -e '.[backends]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) -e '.[docs]'
	@touch $@
