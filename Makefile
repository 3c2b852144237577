# People and CI use the same targets; `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# An index to take torch from, where the default one serves a build you do not want.
TORCH_INDEX ?=
# the encoder's ImageNet weights, for train-gpu: .safetensors or torchvision's .pth
WEIGHTS ?=
# demo: a folder in MVTec layout to learn and inspect; empty: a generated product.
DATA ?=
# demo: protoad or prn-s; empty: prn-s for the generated product, protoad for DATA.
MODEL ?=
OUT ?= demo-out
# gpu: a Python with torch for this machine's GPU; what else it lacks is reported as not run.
GPU_PYTHON ?= python3

# fuzz: how long each target looks, and which inputs it draws
MINUTES ?= 10
SEED ?= 1
FUZZ := $(filter-out %/__init__.py %/mutate.py %/mutation.py,$(wildcard tests/fuzz/*.py))

.PHONY: help demo loop test fuzz gpu train-gpu docs lint bench bench-bridge drill clean

help:  ## say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.torch
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[train,embedded]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[train,embedded,dev]'
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[deploy-tests]' \
		|| echo 'make: what judges deploy/ does not install: its tests are skipped here, and fail in CI' >&2
	@touch $@

demo: $(VENV)/.installed  ## learn a product and inspect it, camera to verdict: DATA=folder for your own pictures
	$(BIN)/pipeline-demo --out $(OUT) $(if $(MODEL),--model $(MODEL)) $(if $(DATA),--data $(DATA))

test: $(VENV)/.installed-dev  ## install and run every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

fuzz: $(VENV)/.installed-dev  ## damaged input against every part that reads some: MINUTES=10 each, SEED=1
	@for target in $(FUZZ); do \
		echo "$$target"; \
		PYTHONPATH=.:tests $(BIN)/python $$target --seconds $$(( 60 * $(MINUTES) )) --seed $(SEED) || exit 1; \
	done

gpu:  ## check and measure everything that wants a GPU, in 8 minutes: GPU_PYTHON=python with torch
	PYTHONPATH=. $(GPU_PYTHON) tests/gpu/measure.py --out $(OUT)/gpu.json

train-gpu: $(VENV)/.installed  ## train full-size PRN on a GPU in 12 minutes: DATA=folder WEIGHTS=resnet18.safetensors
	@test -n "$(DATA)" -a -n "$(WEIGHTS)" || { echo "make train-gpu DATA=folder WEIGHTS=file" >&2; exit 2; }
	$(BIN)/trainer-train --model prn --backbone resnet18 --weights $(WEIGHTS) --data $(DATA) --device cuda --minutes 12 --out $(OUT)/prn
	$(BIN)/trainer-evaluate --engine $(OUT)/prn/prn.onnx --data $(DATA) --device cpu

docs: $(VENV)/.installed-dev  ## write the tables of docs/configuration.md anew
	PYTHONPATH=. $(BIN)/python tests/programs/configuration_page.py

lint: $(VENV)/.installed-dev  ## style, types, and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(OUT)/protoad/protoad.onnx: $(VENV)/.installed
	$(BIN)/pipeline-demo --model protoad --out $(OUT) $(if $(DATA),--data $(DATA))

bench: $(OUT)/protoad/protoad.onnx  ## what the line adds to the bare engine
	$(BIN)/pipeline-bench --engine $< --out $(OUT)

bench-bridge: $(VENV)/.installed-dev  ## how many verdicts a polling Modbus client misses
	PYTHONPATH=.:tests $(BIN)/python tests/programs/bench_bridge.py

loop: $(VENV)/.installed  ## a line that learns a new kind of defect while parts pass: DATA=folder in MVTec layout
	@test -n "$(DATA)" || { echo "make loop DATA=folder" >&2; exit 2; }
	$(BIN)/pipeline-loop --data $(DATA) --out $(OUT)/loop

drill: $(VENV)/.installed  ## kill workers, camera and Redis on purpose; prove that no part is lost
	$(BIN)/pipeline-drill

clean:  ## remove what the other targets made
	rm -rf $(VENV) $(OUT) build *.egg-info
