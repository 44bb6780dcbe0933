# Everything a checkout can do. Needs Python 3.11 or newer with venv; the rest goes into .venv and .local.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
NODE_READY := $(if $(shell command -v npm),tests/web/node_modules/.ready)

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(READY) ## install the pinned tools and packages into .venv

$(READY): requirements/uv.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements/uv.txt requirements/dev.txt
	@touch $@

run: setup ## start Postgres and both functions on one port (PORT=8787)
	@exec $(BIN)/python -m dev.server

lambda: setup ## as run, but the functions run as on Lambda (PORT=8787)
	@exec $(BIN)/python -m dev.lambda_server

invoke: setup ## one invocation: FUNCTION=chat_stream EVENT=events/chat_stream_rest.json
	@$(BIN)/python -m dev.lambda_server invoke "$(FUNCTION)" "$(EVENT)"

token: setup ## print a signed token for the local server (USER_ID=uuid)
	@$(BIN)/python -m dev.token

mock-llm: setup ## start the mock providers (PORT=8788)
	@exec $(BIN)/python -m dev.mock_llm --port $${PORT:-8788}

migrate: setup ## apply the migrations to MIGRATION_DATABASE_URL
	@$(BIN)/python -m migrations.migrate

check: setup ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup ## measure the encoders
	@$(BIN)/python -m bench.encoders

openapi: setup ## describe the routes anew, for GET /openapi.json
	@$(BIN)/python -m dev.openapi

screenshots: setup ## take the README's pictures of the page anew
	@$(BIN)/python -m tests.web.pictures

format: setup ## rewrite the code in the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: setup $(NODE_READY) ## run every test
	@test -n '$(NODE_READY)' || echo 'npm is not on this machine: tests that need its packages are skipped'
	$(BIN)/python -m pytest -n 4

tests/web/node_modules/.ready: tests/web/package-lock.json
	@cd tests/web && npm ci --silent
	@touch $@

lock: setup ## pin the newest packages that pyproject.toml allows, with hashes
	@for group in chat-stream conversations dev; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --group $$group -o requirements/$$(echo $$group | tr - _).txt $(LOCK_OPTIONS) || exit 1; \
	done

.PHONY: help setup run lambda invoke token mock-llm migrate check bench openapi screenshots format test lock
