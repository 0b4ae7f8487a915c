# Every target sets up first (once; quick the second time), so a bare clone needs only Python 3.11+ and make.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready
# pip may be told where wheels lie on this machine; uv does not read pip's settings, so hand it over.
export UV_FIND_LINKS := $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null)
export OMP_NUM_THREADS ?= 1

.PHONY: help setup test lint course lab figures cards lock clean

help:            ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

setup: $(READY)  ## .venv with the locked versions and stagkit itself

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "stagkit needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -q --disable-pip-version-check uv
	$(VENV)/bin/uv pip install -q --python $(PY) -r requirements.lock -e .
	@touch $(READY)

test: setup      ## lint, then every test (browser tests skip, with the reason, where there is no Chromium)
	$(VENV)/bin/ruff check stagkit tests benchmarks
	$(VENV)/bin/ruff format --check stagkit tests benchmarks
	$(PY) -m pytest

lint: setup      ## repair format and imports
	$(VENV)/bin/ruff check --fix stagkit tests benchmarks
	$(VENV)/bin/ruff format stagkit tests benchmarks

course: setup    ## execute the notebooks in order on phantoms; prints notebook, seconds, facts, pass/fail
	$(PY) -m stagkit.course notebooks

lab: setup       ## JupyterLab on the notebooks
	$(VENV)/bin/stagkit lab

figures: setup   ## a phantom run, then every figure of figures/ from it; the sheet of phantom people
	$(PY) -m stagkit.contact_sheet figures/phantoms.png
	$(VENV)/bin/stagkit phantom runs/phantom-clips --preset casme2 --subjects 8 --clips 12
	$(VENV)/bin/stagkit evaluate runs/phantom-clips --out runs/phantoms
	$(VENV)/bin/stagkit explain runs/phantoms --pictures 0
	$(VENV)/bin/stagkit figures runs/phantoms --out figures

cards: setup     ## data_README.md from the cards of the data sets
	$(PY) -m stagkit.datasets.cards

lock: setup      ## resolve pyproject.toml anew into requirements.lock and environment.yml
	$(PY) tests/lockfile.py

clean:           ## remove what 'make' made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
