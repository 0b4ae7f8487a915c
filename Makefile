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
	$(PY) -m pytest -n 2 --dist loadfile

lint: setup      ## repair format and imports
	$(VENV)/bin/ruff check --fix stagkit tests benchmarks
	$(VENV)/bin/ruff format stagkit tests benchmarks

course: setup    ## execute the notebooks in order on phantoms; prints notebook, seconds, values, pass/fail
	$(PY) -m stagkit.course notebooks

lab: setup       ## JupyterLab on the notebooks
	$(VENV)/bin/stagkit lab

PAPER := runs/paper
figures: setup   ## phantom runs, then every figure and table of figures/ from them; the sheet of phantom people
	$(PY) -m stagkit.plots.contact_sheet figures/phantoms.png
	$(VENV)/bin/stagkit phantom $(PAPER)/clips --preset casme2 --subjects 6 --clips 8 --difficulty 0.8
	$(VENV)/bin/stagkit phantom $(PAPER)/clips-samm --preset samm --subjects 4 --clips 6 --difficulty 0.8
	$(VENV)/bin/stagkit phantom $(PAPER)/clips-smic --preset smic --subjects 4 --clips 6 --difficulty 0.8
	$(VENV)/bin/stagkit evaluate $(PAPER)/clips --out $(PAPER)/phantoms
	$(VENV)/bin/stagkit explain $(PAPER)/phantoms --pictures 0
	$(VENV)/bin/stagkit ablate $(PAPER)/clips --protocol groupkfold --folds 3 --epochs 30 --only apex-only \
		--only graph-none --only connectivity-fixed --only cross-none --only branch-time --only branch-graph \
		--out $(PAPER)/ablation
	$(VENV)/bin/stagkit evaluate $(PAPER)/clips --protocol groupkfold --folds 3 --leaky --out $(PAPER)/leak
	$(VENV)/bin/stagkit evaluate $(PAPER)/clips $(PAPER)/clips-samm $(PAPER)/clips-smic --protocol cross --mapping 3-class \
		--epochs 30 --out $(PAPER)/cross
	$(VENV)/bin/stagkit figures $(PAPER)/phantoms $(PAPER)/ablation $(PAPER)/cross $(PAPER)/leak --out figures

cards: setup     ## data_README.md from the cards of the data sets
	$(PY) -m stagkit.datasets.cards

lock: setup      ## resolve pyproject.toml anew into requirements.lock and environment.yml
	$(PY) tests/lockfile.py

clean:           ## remove what 'make' made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
