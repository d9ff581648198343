# Each target installs what it needs on a fresh clone and exits non-zero on failure.
# Written for GNU make 3.81 and later, which is what macOS has.

SHELL := /bin/sh
.DEFAULT_GOAL := help

python := .venv/bin/python
# Keeps commands and package origins out of the lock file; hashes are asked for below.
lock_options := --quiet --no-header --no-annotate

# pytest takes further arguments from here: make test ARGS="tests/unit -x"
ARGS ?=
# What to measure, or to break, by name: make bench ONLY=accept,whole-vs-postfix
ONLY ?=

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

.PHONY: bootstrap
bootstrap: ## Make .venv and install everything; does nothing where it is up to date
	@sh scripts/bootstrap

.PHONY: up
up: bootstrap ## Run everything on this machine, until Ctrl-C
	@exec $(python) -P -m tallypost_cli up

.PHONY: demo
demo: bootstrap ## Run everything with sample traffic and a control panel, until Ctrl-C
	@exec $(python) -P -m tallypost_cli demo

.PHONY: clean-data
clean-data: bootstrap ## Delete all local data: databases, secrets, mail and logs
	@$(python) -P -m tallypost_cli clean-data

.PHONY: lint
lint: bootstrap ## Check style, formatting and layers
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	.venv/bin/lint-imports

.PHONY: types
types: bootstrap ## Check types
	$(python) -m mypy

.PHONY: migrations-check
migrations-check: bootstrap ## Fail where the models and the migrations differ
	@$(python) scripts/check_migrations.py

.PHONY: openapi
openapi: bootstrap ## Write docs/openapi.json and docs/errors.md, which describe the API
	@$(python) -P -m tallypost_api.openapi docs/openapi.json
	@$(python) -P -m tallypost_api.error_docs docs/errors.md

.PHONY: settings
settings: bootstrap ## Write docs/settings.md and .env.example
	@$(python) -P -m tallypost_cli settings docs
	@$(python) -P -m tallypost_cli settings env

.PHONY: settings-check
settings-check: bootstrap ## Fail where docs/settings.md or .env.example is not up to date
	@$(python) -P -m tallypost_cli settings docs --check
	@$(python) -P -m tallypost_cli settings env --check

.PHONY: test
test: bootstrap ## Run the tests, but for the slow ones and those in containers
	@$(python) -m pytest -q -n 3 --dist loadfile -m "not slow and not containers" $(ARGS)

.PHONY: test-full
test-full: bootstrap ## Run all tests, slow ones too
	@$(python) -m pytest -q $(ARGS)

.PHONY: bench
bench: bootstrap ## Measure against this machine and other mail systems, up to 40 min (ONLY=name,name)
	@$(python) -m bench --only "$(ONLY)"

.PHONY: bench-quick
bench-quick: bootstrap ## Measure accepting, delivering and latency roughly, within a minute
	@$(python) -m bench --scale quick --only "$(ONLY)"

.PHONY: profile
profile: bootstrap ## Say where an API process and a worker spend their time under load
	@$(python) -m bench.profile

.PHONY: faults
faults: bootstrap ## Break everything in turn at full scale and count what became of the mail (30 min)
	@$(python) -m tests.faults $(if $(ONLY),--only $(ONLY))

.PHONY: lock
lock: bootstrap ## Resolve the dependencies anew and write the hashed lock files
	$(python) -m uv lock --quiet
	$(python) -m uv export --quiet --frozen --all-extras --no-emit-project --no-header \
		--output-file requirements.lock
	$(python) -m uv pip compile $(lock_options) --generate-hashes --universal \
		--python-version 3.11 \
		--constraints requirements.lock --output-file scripts/installer.lock scripts/installer.in
	@sh scripts/bootstrap
