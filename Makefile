UV := uv==0.13.8
# The first Python of at least 3.11 on the path; set PY to choose another.
PY ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# A file stays on one worker, so that what its tests share is made once; in the order of the files, as the longest come early.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# Bytecode is kept whatever the environment says: without it, each of a hundred short processes compiles what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help hot-path run decide check test test-all coverage test-pythons docs bench fidelity operator-tables another-simulator proofs mutants lock

help:               ## this list
	@sed -n 's/^\([a-z-]*\): .*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | sort | column -t -s '	' 2>/dev/null

ifndef ALONE  # two makes at once: the second waits for the lock, and then finds the work done
.venv/.ok: requirements.lock pyproject.toml
	@test -n "$(PY)" || { echo "error: no Python >= 3.11 found; say which with make PY=..." >&2; exit 1; }
	@$(PY) .ci/alone.py .venv.lock $(MAKE) --no-print-directory ALONE=1 PY=$(PY) $@
else
.venv/.ok: requirements.lock pyproject.toml
	@echo "Installing the packages of requirements.lock into .venv (once; about half a minute)"
	@$(PY) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check $(UV)
	@$(BIN)/uv pip install -q --compile-bytecode -p .venv --require-hashes -r requirements.lock
	@$(BIN)/uv pip install -q -p .venv --no-deps -e .
	@touch $@
endif

hot-path: .venv/.ok ## compile what every event passes through; a moment if that is done
	@$(BIN)/python -m compileall -q sim hydra_plugins
	@$(BIN)/python -m sim.hot_path.build || true

run: hot-path      ## the main job: three traffic shapes on five fleets
	@echo "Playing 15 scenarios, three traffic shapes on five fleets (about two minutes); results in outputs/shapes_by_fleets"
	@$(BIN)/python -m sim +experiment=shapes_by_fleets $(ARGS)

decide: hot-path   ## a sample log, decided: the fleet that should serve it, and a page (a minute or two)
	@$(BIN)/python -m sim sample-log outputs/my_log.csv --requests 3000
	@$(BIN)/python -m sim decide outputs/my_log.csv gpu=l4 engine.tensor_parallel=1 today.usd_per_month=2000 $(ARGS)

check: .venv/.ok   ## the edit loop, under a minute: lint, format, types, house rules, contracts
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy
	@SIM_INTERPRETED=1 $(PYTEST) -m "not slow" tests/test_house.py tests/contracts $(ARGS)

test: hot-path     ## lint and every test that is not marked slow; under five minutes on two cores
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(PYTEST) -m "not slow" $(ARGS)

test-all: hot-path ## lint and every test there is, the slow ones too, as CI runs them; under ten minutes on two cores
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(PYTEST) $(ARGS)

coverage: .venv/.ok ## which lines the fast tests reach; printed, not a gate
	SIM_INTERPRETED=1 $(PYTEST) -m "not slow" --cov=sim --cov-report=term:skip-covered $(ARGS)

test-pythons: .venv/.ok ## a quick subset of the tests under every other Python at hand that the lock supports
	$(BIN)/python -m tests.pythons $(ARGS)

docs: .venv/.ok    ## write the reference pages from the code and build the site into outputs/docs
	$(BIN)/python -m docs.build
	$(BIN)/python -m mkdocs build -q --strict

bench: hot-path    ## speed and memory of the simulator on one core
	$(BIN)/python -m sim.study.bench $(ARGS)

fidelity: hot-path ## measured runs of real servers, played again: predicted beside measured
	$(BIN)/python -m tests.fidelity $(ARGS)

operator-tables: .venv/.ok ## constants of conf/gpu against measured operator times (fetches 82 MB once); ARGS=--write sets them
	@$(BIN)/uv pip install -q -p .venv $$(sed -n 's/^tables = \["\([^;"]*\).*/\1/p' pyproject.toml)
	@$(BIN)/python -m tests.fidelity.operator_tables $(ARGS)

another-simulator: hot-path ## NVIDIA's mocker beside this program on one log (fetches 75 MB once); ARGS=a Mooncake trace
	@$(BIN)/uv pip install -q -p .venv $$(sed -n 's/^another-simulator = \["\([^;"]*\).*/\1/p' pyproject.toml)
	@$(BIN)/python -m tests.fidelity.another_simulator $(ARGS)

proofs: hot-path   ## what intervals and SLO judgements are worth, measured (minutes); writes docs/why/coverage.md
	$(BIN)/python -m tests.proofs $(ARGS)

mutants: .venv/.ok ## plant single mistakes in a copy and print those that no test notices (an hour)
	$(BIN)/python -m tests.mutants $(ARGS)

lock: .venv/.ok    ## rewrite requirements.lock from pyproject.toml
	$(BIN)/uv pip compile -q pyproject.toml --extra compile --extra dev --extra docs --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header -o requirements.lock
