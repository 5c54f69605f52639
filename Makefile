# Everything runs inside .venv, which `make` builds from pyproject.toml the first time.
PYTHON ?= python3.11
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet
SAMPLE ?= school_bus
TARGET ?= school bus

.PHONY: demo test lint bench addon gui-test gui-figures matrix fidelity gallery soak fuzz wire gpu-test gpu-bench bars \
    transfer-table paper-figures clean
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

# What a step costs over its classifier, on a machine that does nothing else: docs/benchmarks.md. BENCH="--repeats 5" is
# quicker; PEERS_PYTHON names an interpreter with Mitsuba 3, to be compared with.
BENCH ?=
bench: .venv/installed
	cd tests && ../$(BIN)/python -m bench.figures $(BENCH)

# All that needs a CUDA device (and nvdiffrast, which is not on PyPI): its tests, and docs/benchmarks-gpu.md.
gpu-test: .venv/installed
	$(BIN)/python -m pytest tests/server -m "not slow" -k "cuda or nvdiffrast or gpu"

gpu-bench: .venv/installed
	cd tests && ../$(BIN)/python -m bench.figures --device cuda $(BENCH)

# 20,000 malformed messages, slow connections and oversized frames against a real server.
fuzz: .venv/installed
	cd tests && ../$(BIN)/python -m fuzz.run --messages 20000

# The add-on as a Blender extension, dist/*.zip.
addon: .venv/installed
	$(BIN)/python build_addon.py

# The panel in a real window: Debian's Blender in a chroot, under Xvfb. SUITE=sid takes a newer one, BLENDER=/path any
# other. Screenshots go to out/gui.
SUITE ?= trixie
GUI_TESTS ?= tests/gui
GUI := ASSISTIVE_GUI=1 GUI_CHROOT=.gui/$(SUITE)
gui-test: .venv/installed
	$(if $(BLENDER),,$(BIN)/python tests/gui/make_chroot.py --suite $(SUITE) --or-skip)
	$(GUI) $(BIN)/python -m pytest $(GUI_TESTS)

# What a job costs Blender's main thread, in a real window.
gui-figures: .venv/installed
	$(if $(BLENDER),,$(BIN)/python tests/gui/make_chroot.py --suite $(SUITE) --or-skip)
	$(GUI) $(BIN)/python -m tests.gui.figures

# The add-on in each Blender that it supports: docs/matrix.md.
matrix: .venv/installed
	$(BIN)/python tests/matrix/run.py --out docs/matrix.md $(foreach row,$(wildcard out/gui/row-*.json),--row $(row))

# The server's pictures beside Blender's: docs/fidelity.md. Ends with 1 when a scene misses its bar. FIDELITY=--eevee
# measures EEVEE too, where there is a GPU or a display.
FIDELITY ?=
fidelity: .venv/installed
	cd tests && ../$(BIN)/python -m fidelity.run $(FIDELITY)

# Reports of the sample objects: docs/gallery. PRESET=standard does more work.
PRESET ?= draft
gallery: .venv/installed
	cd tests && ../$(BIN)/python -m gallery.run --preset $(PRESET)

# Many clients, and all sorts of things that break, for five minutes; ends with 1 when a promise of docs/reliability.md is
# broken.
SOAK ?=
soak: .venv/installed
	cd tests && ../$(BIN)/python -m soak.run $(SOAK)

# How fast a large scene crosses the wire, beside plain memory through a socket.
wire: .venv/installed
	$(BIN)/python tests/bench/wire.py

# docs/experiments.md, of the meshes car.ply and bus.ply of microsoft/unadversarial (src/resources) in MESHES. Hours on
# two cores: what is done is remembered in out/experiments.
MESHES ?= meshes
JOBS := out/experiments
bars: .venv/installed $(JOBS)/car.job $(JOBS)/bus.job $(JOBS)/car-atlas.job $(JOBS)/bus-atlas.job
	cd tests && ../$(BIN)/python -m experiments.bars ../$(JOBS)/car.job ../$(JOBS)/bus.job \
	    --patches ../$(JOBS)/car-atlas.job ../$(JOBS)/bus-atlas.job --memory ../$(JOBS)

transfer-table: .venv/installed $(JOBS)/car.job $(JOBS)/bus.job
	cd tests && ../$(BIN)/python -m experiments.transfer ../$(JOBS)/car.job ../$(JOBS)/bus.job --memory ../$(JOBS)

# The paper's tables and figures on car.ply: out/paper. What is trained once is remembered there. BUDGET= takes the
# Standard preset, hours on two cores.
BUDGET ?= --preset draft
PAPER := out/paper
paper-figures: .venv/installed $(JOBS)/car.job $(JOBS)/car-atlas.job
	for name in table2 figure3 figure4 figure5; do \
	    $(BIN)/assistive-server $$name $(JOBS)/car.job --out $(PAPER) $(BUDGET) || exit 1; done
	$(BIN)/assistive-server figure1 $(JOBS)/car.job --out $(PAPER) --texture "$(PAPER)/texture efficientnet_lite0.png"
	$(BIN)/assistive-server table1 $(JOBS)/car-atlas.job --out $(PAPER) $(BUDGET)

COLLECT = $(BIN)/python -m blender_addon $(MESHES)/$(basename $(firstword $(subst -, ,$(@F)))).ply collect \
    --init "\#808080" --held-out-models efficientnet_lite1 --out $@
$(JOBS)/car%: TARGET := sports car
$(JOBS)/%-atlas.job: .venv/installed
	$(COLLECT) --target "$(TARGET)" --uv new --texture-size 1024

$(JOBS)/%.job: .venv/installed
	$(COLLECT) --target "$(TARGET)"

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) --editable ".[headless,dev]"
	touch $@

clean:
	rm -rf .venv build dist out *.egg-info
