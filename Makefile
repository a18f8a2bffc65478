# `make run` is all a new machine needs besides Python 3.11+ and make; `make help` lists the rest.

PORT ?= 8000
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-input
PACKAGES := accounts tracker planner soorma_site
export PIP_ROOT_USER_ACTION = ignore

.DEFAULT_GOAL := help
.PHONY: help run demo test check soak bench chromium
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: $(VENV)/.run ## start the server on PORT (8000), its data kept under var/
	@exec $(PYTHON) manage.py serve --port $(PORT)

demo: $(VENV)/.demo ## start the server together with live demo agents
	@exec $(PYTHON) manage.py demo --port $(PORT)

test: $(VENV)/.dev chromium ## install what the tests need and run all of them
	@$(PYTHON) -m pytest -n 2 --dist loadgroup

bench: $(VENV)/.dev ## how fast it is, beside the limits of this machine (some 40 minutes)
	@$(PYTHON) -m benchmarks

check: $(VENV)/.dev ## lint, types, import rules, migrations and documentation
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy
	@$(VENV)/bin/lint-imports
	@$(PYTHON) manage.py makemigrations --check --dry-run
	@$(PYTHON) -m pytest -q tests/test_docs.py tests/test_structure.py

soak: $(VENV)/.dev chromium ## run the long fault and load runs, about an hour, and print their counts
	@$(PYTHON) -m soak

# The newest Python the server is tested with that can make a virtual environment.
$(VENV)/.made:
	@for python in python3.13 python3.12 python3.11 python3 python; do \
	    $$python -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	    && exec sh -c "$$python -m venv $(VENV) && touch $@"; \
	done; \
	echo "Soorma Site needs Python 3.11, 3.12 or 3.13 with its venv module (on Debian and Ubuntu: apt-get install python3-venv)." >&2; \
	exit 1

$(VENV)/.run: requirements.txt | $(VENV)/.made
	@echo "Installing requirements.txt ..."
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.demo: requirements-demo.txt $(VENV)/.run
	@echo "Installing requirements-demo.txt ..."
	@$(PIP) -r requirements-demo.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.demo
	@echo "Installing requirements-dev.txt ..."
	@$(PIP) -r requirements-dev.txt
	@touch $@

chromium:
	@command -v chromium >/dev/null || sh tests/services/install_chromium.sh
