# Two commands matter: `make run` shows Todoku at work, `make test` proves it.
# Both install what they need: Python packages into .venv (pinned, with hashes),
# Debian packages through apt when run as root.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check lint types imports pytest wheel bundle audit bench bench-bounces bench-town bench-snapshot bench-desk bench-dkim lock system clean

run: $(VENV)/.run
	$(BIN)/todoku demo

test: system $(VENV)/.dev check pytest

check: lint types imports

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports

pytest: $(VENV)/.dev
	$(BIN)/python -m pytest

# dist/todoku-VERSION-py3-none-any.whl
wheel: $(VENV)/.dev
	$(BIN)/python -m hatchling build -t wheel

# dist/bundle: every wheel in one folder, for servers without internet (README.txt in it says how).
bundle: $(VENV)/.dev
	$(BIN)/python deploy/bundle.py dist/bundle

# Known faults of the locked packages, by pip-audit. It asks an advisory database on the internet and is
# no part of `make test`: pipx install pip-audit. What it cannot look up is a failure (--strict), no silence.
audit:
	@command -v pip-audit >/dev/null 2>&1 || { echo "pip-audit is not installed: pipx install pip-audit" >&2; exit 1; }
	pip-audit --strict --disable-pip --require-hashes -r requirements/run.txt

# The way out, as ratios against rivals in the same run.
bench: system $(VENV)/.dev
	$(BIN)/python -m bench

# The bounce reader, the call list on made-up towns, the nightly snapshot.
bench-bounces: $(VENV)/.dev
	$(BIN)/python -m bench.bounces tests/bounces/mails

bench-town: $(VENV)/.dev
	$(BIN)/python -m bench.town

bench-snapshot: $(VENV)/.dev
	$(BIN)/python -m bench.snapshot

# The desk's pages while a batch runs; what signing costs.
bench-desk: $(VENV)/.dev
	$(BIN)/python -m bench.desk

bench-dkim: $(VENV)/.dev
	$(BIN)/python -m bench.dkim

# Debian packages that the tests start as real servers: postfix, dovecot, postgresql, nginx, apache2, chromium.
system:
	sh .ci/packages

$(VENV)/bin/pip:
	@sh .ci/python $(PYTHON)
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --disable-pip-version-check -q --require-hashes -r requirements/run.txt
	$(BIN)/pip install --disable-pip-version-check -q --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	$(BIN)/pip install --disable-pip-version-check -q --require-hashes -r requirements/dev.txt
	@touch $@

# Writes the locks anew. They name no package index.
PIP_COMPILE = pip-compile -q --strip-extras --allow-unsafe --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links
lock:
	$(PIP_COMPILE) --extra postgres --extra dkim -o requirements/run.txt pyproject.toml
	$(PIP_COMPILE) -o requirements/dev.txt requirements/dev.in

clean:
	rm -rf $(VENV) build dist
