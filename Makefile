# make demo | stop | check | test | clean.  Needed beforehand: Linux, Python >= 3.11 with venv, make.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
TEST_VENV := .venv-test
CLIENTS_VENV := .venv-clients
CLIENTS := tests/exchanges/simulator/clients/requirements.txt
BIN := $(VENV)/bin
TBIN := $(TEST_VENV)/bin
PIP_FLAGS := --disable-pip-version-check --quiet

# What is compiled stays compiled: the tests start hundreds of programs, and pytest rewrites itself.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo stop check test clean venv venv-test venv-clients

venv: $(VENV)/.installed
venv-test: $(TEST_VENV)/.installed
venv-clients: $(CLIENTS_VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' || { echo 'gridfleet needs Python >= 3.11 with venv (Debian: apt-get install python3-venv); set PYTHON=/path/to/python3.11'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[backtest]' || { echo 'the package index could not be reached: pip install failed'; exit 1; }
	@$(BIN)/python -m compileall -q core cli strategies exchanges web database || true  # so that the first start is as quick as the next
	@touch $@

$(TEST_VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' || { echo 'gridfleet needs Python >= 3.11 with venv (Debian: apt-get install python3-venv); set PYTHON=/path/to/python3.11'; exit 1; }
	@test -x $(TBIN)/python || $(PYTHON) -m venv $(TEST_VENV)
	@$(TBIN)/python -m pip install $(PIP_FLAGS) -e '.[test]' || { echo 'the package index could not be reached: pip install failed'; exit 1; }
	@touch $@

# ccxt, bpx-py and others, which trade on the simulator in its tests; the last ccxt with HMAC beside.
$(CLIENTS_VENV)/.installed: $(CLIENTS)
	@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' || { echo 'gridfleet needs Python >= 3.11 with venv (Debian: apt-get install python3-venv); set PYTHON=/path/to/python3.11'; exit 1; }
	@test -x $(CLIENTS_VENV)/bin/python || $(PYTHON) -m venv $(CLIENTS_VENV)
	@$(CLIENTS_VENV)/bin/python -m pip install $(PIP_FLAGS) -r $(CLIENTS) || { echo 'the package index could not be reached: pip install failed'; exit 1; }
	@$(CLIENTS_VENV)/bin/python -m pip install $(PIP_FLAGS) --no-deps --upgrade --target $(CLIENTS_VENV)/ccxt-hmac ccxt==4.5.51 || { echo 'the package index could not be reached: pip install failed'; exit 1; }
	@touch $@

# Two supervised paper bots in the background, healthy, with their table and their pages.
demo: venv
	@todo=; for id in bp_sol_01 bp_eth_02; do \
	    $(BIN)/daemon_manager status $$id >/dev/null 2>&1 || todo="$$todo --config $$id.json"; \
	done; \
	test -z "$$todo" || $(BIN)/daemon_manager start $$todo
	@$(BIN)/instance_cli list

stop:
	@test ! -x $(BIN)/daemon_manager || $(BIN)/daemon_manager stop --all

# The quick check, under 40 s: format, lint, types, imports, fast tests.
check: venv-test
	@$(TBIN)/ruff format --check --quiet . || { echo 'run: $(TBIN)/ruff format .'; exit 1; }
	@$(TBIN)/ruff check --quiet .
	@$(TBIN)/mypy
	@$(TBIN)/lint-imports --no-cache > .lint-imports.log || { cat .lint-imports.log; exit 1; }
	@$(TBIN)/python -m pytest -q -n 2 --dist worksteal -m 'not slow and not browser and not long'

test:
	@$(MAKE) --no-print-directory --jobs=2 venv-test venv-clients
	@$(TBIN)/ruff format --check --quiet .
	@$(TBIN)/ruff check --quiet .
	@$(TBIN)/mypy
	@$(TBIN)/lint-imports --no-cache > .lint-imports.log || { cat .lint-imports.log; exit 1; }
	@$(TBIN)/python -m pytest -n 2 --dist worksteal -m 'not long'

clean: stop
	@rm -rf $(VENV) $(TEST_VENV) $(CLIENTS_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist .lint-imports.log
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
