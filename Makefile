# Everything a checkout can do. Needs Python 3.11 or newer with venv; the rest goes into .venv and .local.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# What the functions run on: arm64 or x86_64.
ARCH ?= arm64
export ARCH
BUILD_DIR ?= .aws-sam/build
# As in a bundle: what is started often is not compiled at each start, whatever the environment says.
COMPILE = $(BIN)/python -m compileall -q functions shared migrations dev
# With bytecode of the tests, which each worker would compile otherwise.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
NODE_READY := $(if $(shell command -v npm),tests/web/node_modules/.ready)

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s%s\n", $$1, $$2 }' Makefile

setup: $(READY) ## install the pinned tools and packages into .venv

# Without a Python that starts, .venv is made again.
ifeq ($(shell test -x $(BIN)/python || echo broken),broken)
$(READY): broken
endif

$(READY): requirements/uv.txt requirements/dev.txt
	@command -v "$(PYTHON)" > /dev/null || { echo '$(PYTHON) is not on this machine: install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3' >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3' >&2; exit 1; }
	@exec "$(PYTHON)" -m dev.environments .venv

# Environments of their own, from a lock file each: what needs one names .venv-deploy/ready, say.
.venv-%/ready: requirements/%.txt $(READY)
	@exec $(BIN)/python -m dev.environments $(@D)

run: setup ## start Postgres and both functions on one port (PORT=8787)
	@exec $(BIN)/python -m dev server

lambda: setup ## as run, but the functions run as on Lambda (PORT=8787)
	@exec $(BIN)/python -m dev lambda_server

invoke: setup ## one invocation: FUNCTION=chat_stream EVENT=events/chat_stream_rest.json
	@exec $(BIN)/python -m dev lambda_server invoke "$(FUNCTION)" "$(EVENT)"

token: setup ## print a signed token for the local server (USER_ID=uuid)
	@exec $(BIN)/python -m dev token

mock-llm: setup ## start the mock providers (PORT=8788); .venv/bin/python -m dev.mock_llm --help tells what they can do
	@exec $(BIN)/python -m dev.mock_llm

build: .venv-deploy/ready ## the functions as on Lambda, in .aws-sam/build (ARCH=arm64; BOTO3=1 for a boto3 of its own)
	@SAM_CLI_TELEMETRY=0 .venv-deploy/bin/sam build --build-in-source --template-file infra/template.yaml \
	  --build-dir $(BUILD_DIR) --parameter-overrides Architecture=$(ARCH)

EXPANDED := .aws-sam/expanded
validate: .venv-deploy/ready .venv-policy/ready ## the templates: SAM's own check, cfn-lint, and a policy check
	@SAM_CLI_TELEMETRY=0 .venv-deploy/bin/sam validate --lint --template-file infra/template.yaml --region eu-central-1
	@.venv-deploy/bin/cfn-lint infra/database.yaml infra/page.yaml infra/watch.yaml
	@rm -rf $(EXPANDED)
	@AWS_DEFAULT_REGION=eu-central-1 .venv-deploy/bin/python infra/expand.py $(EXPANDED)
	@.venv-policy/bin/checkov --directory $(EXPANDED) --framework cloudformation --config-file .checkov.yaml \
	  --skip-download --compact --quiet

deploy: .venv-deploy/ready ## build, deploy, migrate, put the page up (ENV=dev; PARAMETERS="Name=value …")
	@$(BIN)/python -m infra.release $(or $(ENV),dev) $(PARAMETERS)

smoke: setup ## whether a deployment works: URL=https://… (TOKEN=…, else an anonymous user), or ENV=dev
	@$(BIN)/python -m infra.smoke "$(or $(URL),$(ENV))"

# What sam calls for each function.
build-ChatStreamFunction: BUNDLE := chat_stream
build-ConversationsFunction: BUNDLE := conversations
build-MigrateFunction: BUNDLE := migrate
build-ChatStreamFunction build-ConversationsFunction build-MigrateFunction: setup
	@$(BIN)/python -m infra.build $(BUNDLE) "$(ARTIFACTS_DIR)"

reset: setup ## remove the local database and files (the token secret stays)
	@exec $(BIN)/python -m dev reset

migrate: setup ## apply the migrations to MIGRATION_DATABASE_URL
	@$(BIN)/python -m migrations.migrate

check: setup ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup ## measure, and write the figures of docs/performance.md (QUICK=1: roughly, and only print)
	@$(MAKE) --silent .venv-chat_stream/ready || echo 'The function has the packages of .venv: its own could not be installed'
	@$(if $(QUICK),true,$(MAKE) --silent .venv-litellm/ready) || echo 'LiteLLM could not be installed: measured without it'
	@$(COMPILE)
	@$(BIN)/python -m bench $(if $(QUICK),--quick)

docs: setup ## write the tables of docs/settings.md from the code
	@$(BIN)/python -m dev.settings_page

screenshots: setup ## take the README's pictures of the page anew
	@$(BIN)/python -m tests.web.pictures

format: setup ## rewrite the code in the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: setup .venv-deploy/ready .venv-policy/ready $(NODE_READY) ## run every test
	@test -n '$(NODE_READY)' || echo 'npm is not on this machine: tests that need its packages are skipped'
	@$(COMPILE)
	$(PYTEST) -n 3 --dist loadscope -m "not wall_clock"
	$(PYTEST) -n 2 -m wall_clock

tests/web/node_modules/.ready: tests/web/package-lock.json
	@cd tests/web && npm ci --silent
	@touch $@

lock: setup ## pin the newest packages that pyproject.toml allows, with hashes
	@for group in chat-stream conversations migrate boto3 runtime dev deploy policy litellm; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    $$(test ! -f requirements/$$group.overrides || echo --overrides requirements/$$group.overrides) \
	    --group $$group -o requirements/$$(echo $$group | tr - _).txt $(LOCK_OPTIONS) || exit 1; \
	done

.PHONY: help setup broken run lambda invoke token mock-llm build validate deploy smoke migrate reset check bench
.PHONY: docs screenshots format test lock build-ChatStreamFunction build-ConversationsFunction build-MigrateFunction
