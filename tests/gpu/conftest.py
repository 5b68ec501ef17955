"""Tests that need a GPU: `python3 -m pytest tests/gpu`, with torch and pytest alone; skipped elsewhere."""

import os
from pathlib import Path

import pytest
import torch

import vfi_kernels as vk
from vfi_kernels import backends

HERE = Path(__file__).resolve().parent
ON_GPU = ("cuda", "cuda-deterministic", "triton", "triton-deterministic")


def pytest_configure(config):
    """Triton compiles here. The tests on the CPU interpret it, and one process cannot do both."""
    wanted = [Path(str(a).split("::")[0]).resolve() for a in config.args]
    if torch.cuda.is_available() and all(HERE in (path, *path.parents) for path in wanted):
        os.environ.pop("TRITON_INTERPRET", None)


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="torch finds no GPU"))


def is_interpreting() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


@pytest.fixture(params=ON_GPU)
def backend(request, monkeypatch):
    """Every op runs with this backend inside the test. One that cannot run is a failure, so that a build without CUDA
    kernels never looks like a pass."""
    name, _, deterministic = request.param.partition("-")
    if name == "triton" and is_interpreting():
        pytest.skip("TRITON_INTERPRET=1 in this process: run tests/gpu by itself")
    # The flag itself is on for fresh_memory; this is what the ops ask.
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: bool(deterministic))
    with vk.use_backend(name):
        yield request.param


@pytest.fixture(params=["cuda", "triton"])
def engine(request):
    """A backend without a word on determinism; fresh memory is as torch gives it."""
    if request.param == "triton" and is_interpreting():
        pytest.skip("TRITON_INTERPRET=1 in this process: run tests/gpu by itself")
    torch.use_deterministic_algorithms(False)
    with vk.use_backend(request.param):
        yield request.param


def pytest_report_header() -> list[str]:
    if not torch.cuda.is_available():
        return ["gpu: none"]
    names = ", ".join(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count()))
    states = (f"{b}: {backends.unavailable(b) or 'yes'}" for b in ("cuda", "triton"))
    return [f"gpu: {names}; " + "; ".join(states)]
