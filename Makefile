PY ?= python3
BIN := .venv/bin

.PHONY: run test bench lint lock

.venv/.ok: requirements.lock pyproject.toml
	$(PY) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip install -q -p .venv --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q -p .venv --no-deps -e .
	touch $@

run: .venv/.ok      ## the main job: three traffic shapes on five fleets
	$(BIN)/python -m sim +experiment=shapes_by_fleets $(ARGS)

test: .venv/.ok     ## the whole test suite
	$(BIN)/python -m ruff check .
	$(BIN)/python -m pytest $(ARGS)

bench: .venv/.ok    ## speed and memory of the simulator on one core
	$(BIN)/python -m experiments.bench $(ARGS)

lock: .venv/.ok     ## rewrite requirements.lock from pyproject.toml
	$(BIN)/uv pip compile -q pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -o requirements.lock
