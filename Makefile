# Everything runs inside .venv, which `make` builds from pyproject.toml the first time.
PYTHON ?= python3.11
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet
SAMPLE ?= school_bus
TARGET ?= school bus

.PHONY: demo test lint bench addon clean
.DELETE_ON_ERROR:

# The main job end to end on a sample object, headless, in real Blender; results in out/demo.
demo: .venv/installed
	$(BIN)/python -m blender_addon sample:$(SAMPLE) optimize --target "$(TARGET)" --mask mask \
	    --held-out-models efficientnet_lite1 --out out/demo

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/assistive-server bench --views 15 --size 224 --model efficientnet_lite0 --json

# The add-on as a Blender extension, dist/*.zip.
addon: .venv/installed
	$(BIN)/python build_addon.py

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) --editable ".[headless,dev]"
	touch $@

clean:
	rm -rf .venv build dist out *.egg-info
