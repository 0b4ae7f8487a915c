# Every target creates .venv first (once), so a fresh clone needs only Python 3.11+ and make.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready
# uv does not read pip's settings: pass on the folder of wheels, if pip has one.
export UV_FIND_LINKS := $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null)
export OMP_NUM_THREADS ?= 1

.PHONY: help setup test lint course lab figures cards lock clean

help:            ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

setup: $(READY)  ## create .venv with the locked versions and stagkit

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "stagkit needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -q --disable-pip-version-check uv
	$(VENV)/bin/uv pip install -q --python $(PY) -r requirements.lock -e .
	@touch $(READY)

test: setup      ## lint, then run all tests (browser tests are skipped without Chromium)
	$(VENV)/bin/ruff check stagkit tests benchmarks
	$(VENV)/bin/ruff format --check stagkit tests benchmarks
	$(PY) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

lint: setup      ## fix format and imports
	$(VENV)/bin/ruff check --fix stagkit tests benchmarks
	$(VENV)/bin/ruff format stagkit tests benchmarks

course: setup    ## run all notebooks on phantoms; print time and result of each
	$(PY) -m stagkit.course notebooks

lab: setup       ## open the notebooks in JupyterLab
	$(VENV)/bin/stagkit lab

PAPER := runs/paper
figures: setup   ## run STAG on phantoms, then draw every figure and table of figures/
	$(PY) benchmarks/contact_sheet.py figures/phantoms.png
	$(VENV)/bin/stagkit phantom $(PAPER)/clips --preset casme2 --subjects 6 --clips 8 --difficulty 0.8
	$(VENV)/bin/stagkit phantom $(PAPER)/clips-samm --preset samm --subjects 4 --clips 6 --difficulty 0.8
	$(VENV)/bin/stagkit phantom $(PAPER)/clips-smic --preset smic --subjects 4 --clips 6 --difficulty 0.8
	$(VENV)/bin/stagkit evaluate $(PAPER)/clips --out $(PAPER)/phantoms
	$(VENV)/bin/stagkit explain $(PAPER)/phantoms --n-figures 0
	$(VENV)/bin/stagkit ablate $(PAPER)/clips --protocol groupkfold --folds 3 --epochs 30 --variant apex-only \
		--variant graph-none --variant head-fused --variant cross-none --variant branch-time --variant branch-graph \
		--out $(PAPER)/ablation
	$(VENV)/bin/stagkit evaluate $(PAPER)/clips --protocol groupkfold --folds 3 --leaky --out $(PAPER)/leak
	$(VENV)/bin/stagkit evaluate $(PAPER)/clips $(PAPER)/clips-samm $(PAPER)/clips-smic --protocol cross --mapping 3-class \
		--epochs 30 --out $(PAPER)/cross
	$(VENV)/bin/stagkit figures $(PAPER)/phantoms $(PAPER)/ablation $(PAPER)/cross $(PAPER)/leak --out figures

cards: setup     ## write data_README.md from the data set cards
	$(PY) -m tests.cards

lock: setup      ## resolve pyproject.toml into requirements.lock and environment.yml
	$(PY) tests/lockfile.py

clean:           ## remove everything that make created
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
