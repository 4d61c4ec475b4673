# make book | test | study | serve | lock | clean - every target sets up what it needs.
PROFILE ?= quick
CORES ?= 2
PORT ?= 8000
VENV := .venv
PY := $(VENV)/bin/python
# The first Python that is 3.11 or 3.12; override with 'make PYTHON=/path/to/python'.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3 python,$(shell $(p) -c \
	'import sys; print("$(p)") if (3, 11) <= sys.version_info[:2] <= (3, 12) else None' 2>/dev/null)))
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help env book test test-all study serve pair readme lint lock clean

help:
	@echo "make book   execute every chapter (profile $(PROFILE)) and build the book"
	@echo "make test   run the tests            make test-all  also the slow ones"
	@echo "make serve  show the built book      make study     run the full experiments (hours; a GPU helps)"
	@echo "make pair   rewrite the notebooks from their text   make readme rewrite its table"
	@echo "make lint   check style"
	@echo "make lock   resolve requirements.lock anew          make clean  remove everything built"

env: $(VENV)/.locked

# Marked done only at the very end, so that a broken-off installation starts over.
$(VENV)/.locked: requirements.lock
	@if [ -z "$(PYTHON)" ]; then echo "nucseg needs Python 3.11 or 3.12; none found. Try 'make PYTHON=/path/to/python3.12'." >&2; exit 1; fi
	@echo "Creating $(VENV) with $$($(PYTHON) --version) from requirements.lock (about 3 GB, a few minutes) ..."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --requirement requirements.lock
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

book: env
	@$(PY) workflow/book.py --profile $(PROFILE) --cores $(CORES)

# Tests run side by side, one core each; more threads would only wait for each other.
test test-all: export OMP_NUM_THREADS := 1

test: env
	@$(PY) -m pytest -q -n $(CORES) --dist loadfile

test-all: env
	@$(PY) -m pytest -q -n $(CORES) --dist loadfile --runslow

study: env
	@$(PY) workflow/study.py --cores $(CORES)

serve: env
	@test -f _build/html/index.html || { echo "No book yet: run 'make book' first." >&2; exit 1; }
	@echo "The book is at http://127.0.0.1:$(PORT)/ (Ctrl-C stops)"
	@$(PY) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

pair: env
	@$(PY) workflow/pair.py

readme: env
	@$(PY) -m nucseg.study.pages --readme

lint: env
	@$(PY) -m ruff check .

lock:
	uv pip compile pyproject.toml --quiet --universal --fork-strategy fewest --python-version 3.11 --all-extras \
		--no-annotate --no-header --output-file requirements.lock

clean:
	rm -rf _build .snakemake $(VENV)
