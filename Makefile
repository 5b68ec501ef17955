# Two commands: `make demo` and `make test`. Everything happens in .venv; the second run installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch
SOURCES := $(shell find csrc build_backend -type f) setup.py pyproject.toml constraints.txt
RESULTS ?= out/gpu-check

.PHONY: demo test test-slow check docs wheel bench bench-pytest gpu-check clean

# torch first and pinned: a plain `pip install torch` may bring gigabytes of CUDA.
$(VENV)/torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt $(TORCH) numpy
	touch $@

$(VENV)/models: $(VENV)/torch $(SOURCES)
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[models]"
	touch $@

$(VENV)/dev: $(VENV)/torch $(SOURCES)
	VFI_KERNELS_TESTING=1 $(BIN)/python -m pip install --constraint constraints.txt --editable ".[models,sg-rife,diffusion,bench,dev,docs]"
	touch $@ $(VENV)/models

demo: $(VENV)/models
	OMP_WAIT_POLICY=passive $(BIN)/python -m vfi_models.demo --out out

test: $(VENV)/dev
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -m "not slow and not gpu" -n auto

test-slow: $(VENV)/dev
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -m "slow and not gpu" -n auto --dist loadgroup

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/dev
	$(BIN)/mkdocs build --strict

# With CUDA kernels where there is nvcc; VFI_KERNELS_CUDA=0 make wheel builds without.
wheel: $(VENV)/dev
	$(BIN)/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist .

bench: $(VENV)/dev
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/report.py

# The same ops without peers, for work on a kernel: PYTEST="-k splat --benchmark-autosave".
bench-pytest: $(VENV)/dev
	$(BIN)/python -m pytest benchmarks/pytest_ops.py $(PYTEST)

# On a machine with a GPU, with its own python3 and nvcc: no virtual environment, no network; builds the library there.
gpu-check:
	$(PYTHON) scripts/gpu_check.py --results $(RESULTS)

clean:
	rm -rf $(VENV) build dist out vfi_kernels/*.so *.so *.egg-info
