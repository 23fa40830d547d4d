PYTHON ?= python3
BIN := .venv/bin

.PHONY: reproduce test gpu lint smoke docs
reproduce: .venv/installed
	@$(BIN)/python -m studies.reproduce

test: .venv/installed
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

gpu: .venv/installed
	@$(BIN)/python -m pytest -q -m gpu

lint: .venv/installed
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

smoke: .venv/installed
	@$(BIN)/python -m studies.reproduce --profile smoke

docs: .venv/docs
	@$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going --conf-dir docs . docs/_build/html
	@echo "$(CURDIR)/docs/_build/html/docs/index.html"

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[docs]'
	@touch $@

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[studies,test]'
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # on all cores; some packages hold files of other Pythons
	@touch $@
