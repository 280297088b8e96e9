# make run     one chapter on whatever this machine has        make run CHAPTER=ch06 ARGS='measure=quick'
# make test    what CI runs: lint, format, types, tests         make test TESTS='tests/test_case.py -x'
# make setup   only the virtual environment                     make clean   removes what the others made
# make coverage   all tests, and which lines they run
# PYTHON=python3.12 chooses the interpreter. Nothing outside this folder is changed.

SHELL   := /bin/bash
PYTHON  ?= python3
CHAPTER ?= ch01
ARGS    ?=
TESTS   ?=

VENV := .venv
BIN  := $(VENV)/bin
# Of 10,000 files few are ever imported: these are compiled when they are, which takes a third off the time of setting up.
PIP  := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile
# The build used where no torch is installed. pip takes a CPU build where one is on disk, otherwise the registry's.
TORCH := torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help run test coverage setup clean
MAKEFLAGS += --no-print-directory

help:
	@sed -n '1,5s/^# //p' Makefile

setup: $(VENV)/.ready

run: $(VENV)/.ready
	@$(BIN)/aisp-run +chapter=$(CHAPTER) verify.phase=gate $(ARGS)

test: $(VENV)/.ready
	@echo "ruff check";    $(BIN)/python -m ruff check --quiet .
	@echo "ruff format";   $(BIN)/python -m ruff format --quiet --check . || { echo "Not formatted. Run: $(BIN)/python -m ruff format ."; exit 1; }
ifeq ($(strip $(TESTS)),)
	@echo "mypy, pytest side by side"; $(BIN)/python -m mypy --no-error-summary & types=$$!; \
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m 'not alone' || { wait $$types; exit 1; }; wait $$types
	@echo "pytest, one by one";   $(BIN)/python -m pytest -m alone
else
	@echo "mypy";          $(BIN)/python -m mypy --no-error-summary
	@echo "pytest";        $(BIN)/python -m pytest $(TESTS)
endif

coverage: $(VENV)/.ready
	@$(BIN)/python -m pytest --cov --cov-report=term $(TESTS)

# A torch that the machine already has (a GPU node's own build) is kept: it fits the driver, and is a long download.
$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "aisp-run needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Run: make setup PYTHON=python3.12" >&2; exit 1; }
	@if [ -e $(VENV) ] && ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  echo "setup: $(VENV) is broken; making it again"; rm -rf $(VENV); fi
	@set -e; \
	own=$$($(PYTHON) -c 'import re, torch; v = torch.__version__; print(v if tuple(map(int, re.findall(r"\d+", v)[:2])) >= (2, 11) else "")' \
	  2>/dev/null || true); \
	if [ ! -e $(VENV)/bin/python ]; then \
	  $(PYTHON) -m venv $${own:+--system-site-packages} $(VENV) || { rm -rf $(VENV); \
	    echo "No virtual environment could be made. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }; \
	fi; \
	if [ -n "$$own" ] && $(BIN)/python -c 'import torch' 2>/dev/null; then echo "setup: keeping this machine's torch $$own"; \
	else echo "setup: $(TORCH) (the longest step)"; $(PIP) '$(TORCH)'; fi
	@echo "setup: aisp-run and its tools"
	@$(PIP) -e '.[dev]'
	@if command -v nvidia-smi >/dev/null; then echo "setup: cuda-bindings, for the GPU that is here"; $(PIP) 'cuda-bindings>=13'; fi
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import torch._dynamo, scipy.stats, hydra, jsonschema, rich, pytest, aisp_runner.cli'
	@touch $@
	@echo "setup: ready in $(VENV)"

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .coverage build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
