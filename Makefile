UV := uv==0.13.8
# The first Python of at least 3.11 on the path; set PY to choose another.
PY ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: hot-path run test bench fidelity lock

.venv/.ok: requirements.lock pyproject.toml
	@test -n "$(PY)" || { echo "error: no Python >= 3.11 found; say which with make PY=..." >&2; exit 1; }
	$(PY) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check $(UV)
	$(BIN)/uv pip install -q --compile-bytecode -p .venv --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q -p .venv --no-deps -e .
	touch $@

hot-path: .venv/.ok ## what every event passes through, compiled; a moment if it is
	@$(BIN)/python -m sim compile || true

run: hot-path      ## the main job: three traffic shapes on five fleets
	$(BIN)/python -m sim +experiment=shapes_by_fleets $(ARGS)

test: hot-path      ## the whole test suite
	$(BIN)/python -m ruff check .
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)
	SIM_INTERPRETED=1 $(BIN)/python -m pytest -n auto --dist worksteal tests/reference

bench: hot-path     ## speed and memory of the simulator on one core
	$(BIN)/python -m sim bench $(ARGS)

fidelity: hot-path  ## measured runs of real servers, played again: predicted beside measured
	$(BIN)/python -m tests.fidelity $(ARGS)

lock: .venv/.ok     ## rewrite requirements.lock from pyproject.toml
	$(BIN)/uv pip compile -q pyproject.toml --extra dev --extra compile --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header -o requirements.lock
