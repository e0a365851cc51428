# `make help` lists what can be done here.
#
# An environment is complete when its stamp file is newer than pyproject.toml, so a second call installs nothing.

.DEFAULT_GOAL := help
.NOTPARALLEL:

# The Python to build the environments with: PYTHON=... chooses another one, of 3.11 or later.
PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# More arguments for pytest or JupyterLab: make test ARGS="-k pool", make lab ARGS=--no-browser
ARGS ?=

BIN := .venv/bin
KERNELS := .venvs/ipykernel-6.31/.ready .venvs/ipykernel-7.3/.ready

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call environment,FOLDER,REQUIREMENTS)
define environment
@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "stepup_nb needs Python 3.11 or later; say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; }
@echo "setting up $(1) (a minute or two, once)"
@$(PYTHON) -m venv $(1)
@$(1)/bin/python -m pip install -qq $(2)
endef

.PHONY: help demo lab test test-long bench check format lint types kernels clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.lab ## Execute the first lesson without a browser, with live log lines
	@mkdir -p build
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/stepup-nb execute notebooks/01_pools.ipynb -o build/01_pools.ipynb
	@echo
	@echo "The executed notebook is build/01_pools.ipynb; 'make lab' opens JupyterLab to play with the lesson."

lab: .venv/.lab ## Open the first lesson in JupyterLab
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter lab notebooks/01_pools.ipynb $(ARGS)

test: lint types kernels ## All checks and all tests but the slow ones
	@$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-long: kernels .venv/.dev ## The tests that take minutes
	@$(BIN)/python -m pytest -m slow --timeout=1800 $(ARGS)

bench: .venv/.dev ## Print times that no test asserts, with ninja's beside them
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/figures.py $(ARGS)

check: lint types ## Format, lint, types and the fast tests, in under a minute
	@$(BIN)/python -m pytest -q -m "not slow and not kernel and not browser" $(ARGS)

format: .venv/.dev ## Lay the code out, and mend what ruff can mend
	@$(BIN)/ruff format --quiet
	@$(BIN)/ruff check --fix

lint: .venv/.dev ## Say what is not laid out or not clean
	@$(BIN)/ruff format --check --output-format concise
	@$(BIN)/ruff check --output-format concise

types: .venv/.dev ## Check the types
	@$(BIN)/mypy

kernels: $(KERNELS) ## Set up the older kernels that the tests run on, in .venvs/

clean: ## Remove all that make made: environments, build/, caches
	@rm -rf .venv .venvs build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find stepup_nb tests -type d -name __pycache__ -prune -exec rm -rf {} +

.venv/.lab: pyproject.toml
	$(call environment,.venv,-e '.[lab]')
	@touch $@

# It holds all of [lab] too.
.venv/.dev: pyproject.toml
	$(call environment,.venv,-e '.[dev]')
	@touch .venv/.lab $@

# The oldest kernel goes with the oldest of everything that pyproject.toml allows.
.venvs/ipykernel-6.31/.ready: PINS = $(shell sed -n '/^dependencies/,/^]/s/^ *"\(.*\)>=\(.*\)".*/\1==\2/p' pyproject.toml)
.venvs/ipykernel-7.3/.ready: PINS = ipykernel==7.3.0

.venvs/%/.ready: pyproject.toml Makefile
	$(call environment,.venvs/$*,-e '.[test]' $(PINS))
	@touch $@
