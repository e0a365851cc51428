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
FIND_CHROMIUM := tests/browser/chromium.py
# The font has the glyphs of the states; without recommended packages there is none at all.
CHROMIUM_PACKAGES := chromium fonts-dejavu-core
KERNELS := .venvs/ipykernel-6.31/.ready .venvs/ipykernel-7.3/.ready

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# make test CHROMIUM=/path/to/chromium says which browser the tests drive.
export CHROMIUM

# With Dask, for the lesson on clusters. A name, because a comma would part the arguments of a call.
LAB := '.[dask,lab]'

# $(call environment,FOLDER,REQUIREMENTS)
define environment
@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "stepup_nb needs Python 3.11 or later; say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; }
@echo "setting up $(1) (a minute or two, once)"
@$(PYTHON) -m venv $(1)
@$(1)/bin/python -m pip install -qq $(2)
endef

# The checks of the front end do nothing where there is none.
FRONT_END := $(wildcard stepup_nb/notebook/panel/js/*.js)
JS_TESTS := $(wildcard tests/js/*.test.js)

.PHONY: help demo lab test test-long torture bench bench-flood bench-panel lessons check format lint types js browsers screenshots kernels clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.lab ## Execute the first lesson without a browser, with live log lines
	@mkdir -p build
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/stepup-nb execute notebooks/01_pools.ipynb -o build/01_pools.ipynb
	@echo
	@echo "The executed notebook is build/01_pools.ipynb; 'make lab' opens JupyterLab to play with the lesson."

lab: .venv/.lab ## Open the first lesson in JupyterLab
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter lab notebooks/01_pools.ipynb $(ARGS)

# A choice by ARGS may leave one part without any test, which pytest tells by 5.
test: lint types kernels browsers ## All checks and all tests but the slow ones
	@$(BIN)/python -m pytest -m "not slow and not browser" -n 2 --dist loadfile $(ARGS) || [ $$? = 5 ]
	@$(BIN)/python -m pytest -m "browser and not slow" $(ARGS) || [ $$? = 5 ]

test-long: kernels .venv/.dev ## The tests that take minutes
	@$(BIN)/python -m pytest -m slow --timeout=1800 $(ARGS)

torture: .venv/.dev ## Kills, floods, races and thousands of jobs: the whole figures of tests/faults/, in some 20 minutes
	@TORTURE=1 $(BIN)/python -m pytest -s tests/faults --timeout=3600 $(ARGS)

bench: .venv/.dev ## Measure stepup_nb beside its peers, which it installs: make bench ARGS="thousand noop"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/run.py $(ARGS)

bench-flood: .venv/.dev ## Print what floods of output cost, and how soon a cell answers meanwhile
	@PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=tests $(BIN)/python benchmarks/flood.py $(ARGS)

bench-panel: browsers ## Print how soon the panel shows what is, in JupyterLab and Chromium
	@PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=tests $(BIN)/python benchmarks/panel.py $(ARGS)

lessons: .venv/.dev ## Print how long each lesson takes, and whether it holds each time: make lessons ARGS="-n 20 02"
	@$(BIN)/python benchmarks/lessons.py $(ARGS)

check: lint types ## Format, lint, types and the fast tests, in under a minute
	@$(BIN)/python -m pytest -q -m "not slow and not kernel and not browser" $(ARGS)

format: .venv/.dev ## Lay the code out, and mend what ruff can mend
	@$(BIN)/ruff format --quiet
	@$(BIN)/ruff check --fix

lint: .venv/.dev ## Say what is not laid out or not clean
	@$(BIN)/ruff format --check --output-format concise
	@$(BIN)/ruff check --output-format concise

types: .venv/.dev js ## Check the types, and the front end
	@$(BIN)/mypy

js: $(if $(FRONT_END)$(JS_TESTS),node_modules/.ready) ## Check the types of the front end, and run its tests in node
	@$(if $(FRONT_END),PATH="$(CURDIR)/$(BIN):$$PATH" node_modules/.bin/tsc --project .)
	@$(if $(JS_TESTS),$(BIN)/node --test --test-reporter=dot $(JS_TESTS))

# Where it can be neither found nor installed, the tests that need it are skipped; in CI that is an error.
browsers: .venv/.dev ## Find a Chromium for the tests, or install it where root has apt-get
	@$(BIN)/python $(FIND_CHROMIUM) >/dev/null 2>&1 || { \
		[ -z "$$CHROMIUM" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "installing Chromium (a minute, once)" && \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(CHROMIUM_PACKAGES) >/dev/null; \
		$(BIN)/python $(FIND_CHROMIUM) || [ -z "$$CI" ]; }

screenshots: browsers ## Picture the lessons, light and dark, narrow and wide, in build/screenshots/
	@PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=tests $(BIN)/python tests/browser/screenshots.py $(ARGS)

kernels: $(KERNELS) ## Set up the older kernels that the tests run on, in .venvs/

clean: ## Remove all that make made: environments, build/, caches
	@rm -rf .venv .venvs node_modules build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find stepup_nb tests -type d -name __pycache__ -prune -exec rm -rf {} +

.venv/.lab: pyproject.toml
	$(call environment,.venv,-e $(LAB))
	@touch $@

# It holds all of that too.
.venv/.dev: pyproject.toml
	$(call environment,.venv,-e '.[dev]')
	@touch .venv/.lab $@

# What package-lock.json names, with the npm of the environment; no script of a package is run.
node_modules/.ready: package.json package-lock.json .venv/.dev
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

# The oldest kernel goes with the oldest of everything that pyproject.toml allows.
.venvs/ipykernel-6.31/.ready: PINS = $(shell sed -n '/^dependencies/,/^]/s/^ *"\(.*\)>=\(.*\)".*/\1==\2/p' pyproject.toml)
.venvs/ipykernel-7.3/.ready: PINS = ipykernel==7.3.0

.venvs/%/.ready: pyproject.toml Makefile
	$(call environment,.venvs/$*,-e '.[test]' $(PINS))
	@touch $@
