# The two commands a newcomer needs: `make demo` and `make test`. Everything else is for maintainers.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
GROUP ?= walking
SOURCES := $(shell git ls-files sdk core agent exporters alerts bin grafana/dashboards grafana/provisioning pyproject.toml README.md LICENSE 2>/dev/null)
PIP := $(PY) -m pip --disable-pip-version-check --no-input

# What a target does stands behind its name: `make` alone prints that.
.DEFAULT_GOAL := help

.PHONY: help demo test test-slow check wheel dev coverage bench bench-drift bars bars-slow dashboards-check docs screenshots docs-reference system-deps lock lock-servers lock-peers clean

help:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name words; do printf '%-16s%s\n' "$$name" "$$words"; done

demo: $(VENV)/.wheel ## a real model, real traffic, a shift, an alarm (DEMO_SECONDS=150, DEMO_SHIFT=frozen)
	@$(PY) -m examples.digits.demo

test: SECONDS_START := $(shell date +%s)
test: check ## lint, types, import contracts, tests on the built wheel
	$(PY) -m pytest -m "not slow" -q; code=$$?; echo "make test: $$(( $$(date +%s) - $(SECONDS_START) )) s" >&2; exit $$code

test-slow: $(VENV)/.wheel ## the tests of minutes
	$(PY) -m pytest -m slow -q

# Lint, types and import contracts run on the checkout, tests on the built wheel.
check: $(VENV)/.wheel ## lint, types, import contracts
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/ruff format --quiet --check .
	$(VENV)/bin/mypy --no-error-summary
	$(VENV)/bin/lint-imports --no-logo --no-cache

wheel: $(VENV)/.wheel ## dist/*.whl, installed in .venv

$(VENV)/.lock: requirements.lock
	@echo "building $(VENV) from requirements.lock (about a minute)" >&2
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --quiet --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.wheel: $(VENV)/.lock $(SOURCES)
	@rm -rf dist && $(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@$(PIP) install --quiet --no-deps --force-reinstall dist/*.whl
	@touch $@

# An editable install for work on the sources; `make wheel` goes back.
dev: $(VENV)/.lock ## an editable install
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.wheel

coverage: $(VENV)/.wheel ## tests with coverage
	$(VENV)/bin/coverage run -m pytest -m "not slow" -q
	$(VENV)/bin/coverage combine --quiet
	$(VENV)/bin/coverage report

bars: $(VENV)/.wheel ## every promise with a number, measured now (GROUP=walking)
	@$(PY) -m benchmarks.bars $(GROUP)

bars-slow: $(VENV)/.wheel ## the rows of minutes
	@$(PY) -m benchmarks.bars $(GROUP) --slow

bench: $(VENV)/.wheel ## all groups of bars, and the table of docs/overhead.md
	@set -o pipefail; measured=$$(mktemp -d); trap 'rm -rf "$$measured"' EXIT; \
	for group in $$(ls -d benchmarks/*/__init__.py | cut -d/ -f2 | grep -vx -e reference -e servers -e peers); do \
	  $(PY) -m benchmarks.bars $$group | tee "$$measured/$$group" || short=1; done; \
	$(PY) -m benchmarks.overhead "$$measured"/* && [ -z "$$short" ]

bench-drift: $(VENV)/.wheel ## Pilotfish and other drift detectors on the same streams (builds .peers/, 5 GB)
	@$(PY) -m benchmarks.peers

docs: $(VENV)/.wheel ## the site, into site/; a warning fails
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet

screenshots: $(VENV)/.wheel ## docs/pictures/ from the running demo (chromium)
	$(PY) -m docs.screenshots

dashboards-check: $(VENV)/.wheel ## every dashboard: schema, lint, and drawn on real data (node, chromium, prometheus)
	$(PY) -m pytest -q tests/grafana
	$(PY) -m grafana.proof

docs-reference: $(VENV)/.wheel ## docs/reference/ from the declarations
	$(PY) docs/generate.py

# Debian packages that some tests run for real; no daemon is started.
system-deps: ## Debian packages that tests run for real (root)
	@set -e; trap '[ -e /usr/sbin/policy-rc.d.ours ] && rm -f /usr/sbin/policy-rc.d /usr/sbin/policy-rc.d.ours || true' EXIT; \
	if [ ! -e /usr/sbin/policy-rc.d ]; then printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; touch /usr/sbin/policy-rc.d.ours; fi; \
	apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$(grep -v '^#' system-packages.txt) > /dev/null

# The image's parts of it hold the same versions.
IMAGE_LOCK = uv pip compile --universal --python-version 3.11 --generate-hashes --constraint requirements.lock \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet

lock: ## requirements.lock anew, and the image's (uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --extra agent --extra parquet --group dev --group demo \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet -o requirements.lock
	@$(IMAGE_LOCK) pyproject.toml --extra agent -o deploy/container/requirements.txt
	@$(IMAGE_LOCK) deploy/container/build.in -o deploy/container/requirements-build.txt

# Interpreters of the real servers that benchmarks/capture runs and of the peers of make bench-drift: built when they are needed.
# data.in names packages that hold data: they are not imported, so they come alone.
LOCK_EACH = @for name in $(1)/*.in; do uv pip compile $$name $$([ $${name\#\#*/} = data.in ] && echo --no-deps) --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make $@" --quiet -o $${name%.in}.txt; done

lock-servers: ## benchmarks/servers/locks/*.txt anew (uv)
	$(call LOCK_EACH,benchmarks/servers/locks)

lock-peers: ## benchmarks/peers/locks/*.txt anew (uv)
	$(call LOCK_EACH,benchmarks/peers/locks)

clean: ## everything that was built
	rm -rf $(VENV) .servers .peers .images .proof site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
