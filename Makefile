# Two commands: `make demo` shows the product, `make test` proves it. Both set up everything they need.
# The system's own interpreter where it will do: distributions compile theirs guided by profiles, version managers mostly do not,
# and it does the same work in five sixths of the time.
PYTHON ?= $(firstword $(foreach one,/usr/bin/python3 python3,$(if $(shell $(one) -c \
  'import pip, sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(one))) python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint compiled bytecode bench soak crash clean screens completions

demo: $(READY)
	@$(BIN)/wfctl demo

test: $(READY)
	@$(MAKE) --no-print-directory --jobs=2 lint bytecode
	$(BIN)/python -m pytest tests -n auto --dist loadgroup

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Compiled once: where PYTHONDONTWRITEBYTECODE is set, each of the thousands of processes that tests and benchmarks start would
# compile all it imports. Recognised by its source, not by times.
compiled: $(READY)
	@$(BIN)/python -m compileall -q --invalidation-mode checked-hash wfctl daemon tests/support tests/bench

# The same of the tests, which each of pytest's workers imports; beside mypy, which uses one core.
bytecode: compiled
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest tests --collect-only -qq > /dev/null || true

# The pictures of the README, from commands that are run; those that would show the same stay as they are.
screens: $(READY)
	@PYTHONPATH=tests $(BIN)/python -m support.screens

# What completion knows of the commands, from the commands themselves; a test says when it is due.
completions: $(READY)
	@PYTHONPATH=tests $(BIN)/python -m support.commandtree

# Random worlds until one breaks a promise, or SEEDS of them from FIRST on; with SEED, the story of that one.
simulate: $(READY)
	@PYTHONPATH=tests SEEDS=$(SEEDS) FIRST=$(FIRST) $(BIN)/python -m support.sim $(SEED)

# All figures, in some ten minutes; `make bench QUICK=1` takes less than one. The same as JSON is in bench.json.
bench: compiled
	@$(BIN)/python tests/bench/run.py $(if $(QUICK),--quick) --json bench.json

# Half the maximum rate for half an hour, or `MINUTES=n`: fails where memory, files, the log or latencies grow.
soak: compiled
	@$(BIN)/python tests/bench/soak.py --minutes $(or $(MINUTES),30) --json soak.json

# A thousand kills; prints its figures, and fails where a promise was broken.
crash: compiled
	$(BIN)/python tests/crash/storm.py --kills 1000 --orders 5000

# Debian ships python3 without ensurepip; virtualenv from PyPI needs only pip.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "wfctl needs Python 3.11 or later; set PYTHON=/path/to/python3"; exit 1; }
	@echo "Setting up $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV) && $(PYTHON) -m pip install --quiet --user --break-system-packages virtualenv && \
	    $(PYTHON) -m virtualenv --quiet $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .bench bench.json soak.json
