# `make demo` sets up everything and runs the main job; `make test` sets up and passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-run

.PHONY: setup demo test acceptance lint format bench lock docs clean

setup: $(VENV)/.ready

# uv resolves from the lock alone: plain pip may pick a local torch wheel that torchvision does not fit.
$(VENV)/.ready: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip sync --quiet requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

demo: setup
	$(BIN)/scanner demo --out $(DEMO)

# Two processes, each test file in one: most of what a test does is done by one thread.
test: setup
	$(BIN)/pytest --numprocesses 2 --dist loadfile

acceptance: setup
	$(BIN)/pytest -m acceptance tests/acceptance -rs -s

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python benchmarks/embed.py

docs: setup
	$(BIN)/python -m scanner.cli.reference docs

# Exact pins, without index addresses. torch and torchvision go together: raise both in constraints.txt.
lock: setup
	$(BIN)/uv pip compile pyproject.toml --extra cpu --extra extract --extra report --extra dev --universal --python-version 3.11 \
	  --constraint constraints.txt --no-emit-index-url --no-header --quiet --upgrade --output-file requirements.lock

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
