# Two commands matter: `make demo` and `make test`. Each makes .venv if it is missing or out of date.
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt

.PHONY: demo test lint parity bench docs clean help
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch first and by its exact version, so that a wheel at hand (a CPU build, say) is taken where there is one.
$(VENV)/core.stamp: pyproject.toml constraints.txt
	@echo "installing zellige into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) "$$(sed -n '/^torch==/p' constraints.txt)"
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/%.stamp: $(VENV)/core.stamp
	@echo "installing zellige[$*] into $(VENV)"
	@$(INSTALL) --editable '.[$*]'
	@touch $@

demo: $(VENV)/core.stamp  ## install, tokenize the sample photographs, decode them, measure, write a report
	@$(BIN)/zellige demo --output demo
	@echo; echo "$(CURDIR)/demo/report.html"

test: lint  ## everything that continuous integration runs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

lint: $(VENV)/dev.stamp  ## style, types, imports, dependencies, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src
	$(BIN)/codespell src tests docs benchmarks studies *.md Makefile

parity: $(VENV)/dev.stamp  ## our networks against golden cases: make parity CASES='a.npz b.npz'
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.parity $(or $(CASES),$(sort $(shell find tests/goldens -name '*.npz')))

bench: $(VENV)/bench.stamp  ## our speed against that of others: make bench ROWS='1 5'
	$(BIN)/python -m benchmarks $(ROWS)

docs: $(VENV)/docs.stamp  ## the site, in docs/_build/html
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html docs docs/_build/html
	@echo "$(CURDIR)/docs/_build/html/index.html"

clean:  ## what was made, the virtual environment included
	rm -rf $(VENV) build dist demo docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
