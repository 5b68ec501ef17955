"""Tests that need a GPU: `python3 -m pytest tests/gpu`, with torch and pytest alone; skipped elsewhere."""

import json
import os
from pathlib import Path

import pytest
import torch

import vfi_kernels as vk
from vfi_kernels import backends

HERE = Path(__file__).resolve().parent
LINES = os.environ.get("VFI_GPU_TESTS")  # where gpu_check wants a line of JSON for each test as soon as it is done
WORKER = "PYTEST_XDIST_WORKER" in os.environ
WORTH = ("execution", "patches", "large", "models", "agreement")  # the first in order: a run may be cut off
REHEARSAL = os.environ.get("VFI_GPU_REHEARSAL")  # on the simulator: tests/gpu_rehearsal.py
ON_GPU = ("cuda", "cuda-deterministic", "triton", "triton-deterministic")


def pytest_configure(config):
    """Triton compiles here. The tests on the CPU interpret it, and one process cannot do both."""
    config.addinivalue_line("markers", "xdist_group: those of one name run on one worker of pytest-xdist")
    if REHEARSAL:
        import gpu_rehearsal

        gpu_rehearsal.install()
    wanted = [Path(str(a).split("::")[0]).resolve() for a in config.args]
    if torch.cuda.is_available() and all(HERE in (path, *path.parents) for path in wanted):
        os.environ.pop("TRITON_INTERPRET", None)


def pytest_collection_modifyitems(items):
    ours = {path for path in {item.path for item in items} if HERE in path.parents}  # few paths of many tests
    for item in items:
        if item.path in ours:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="torch finds no GPU"))
    if REHEARSAL:
        import gpu_rehearsal

        items[:] = gpu_rehearsal.chosen(items)
    items.sort(key=lambda item: worth(item, ours))


def worth(item, ours) -> int:
    """Second derivatives, which take longest, come last. Tests that are not here stay before and in their order."""
    name = item.path.stem.removeprefix("test_gpu_")
    if item.path not in ours or name not in WORTH:
        return -1
    return len(WORTH) if item.name.startswith("test_gradients_twice") else WORTH.index(name)


def write_line(test: str, outcome: str, seconds: float, reason: str) -> None:
    with open(LINES, "a") as file:
        file.write(json.dumps({"test": test, "outcome": outcome, "seconds": seconds, "reason": reason}) + "\n")


def pytest_runtest_logreport(report):
    """In the process that hears of every test, also of one that took its worker along."""
    if LINES and not WORKER and (report.when == "call" or report.outcome != "passed"):
        reason = report.longreprtext.strip().splitlines() if report.outcome != "passed" else []
        write_line(report.nodeid, report.outcome, round(report.duration, 2), (reason or [""])[-1])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """After an illegal access no call of CUDA works in this process any more: xdist starts another for the rest."""
    report = yield
    if report.when == "call" and report.failed and torch.cuda.is_available():
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            leave_the_context(item.nodeid, str(error).partition("\n")[0])
    return report


def leave_the_context(test: str, reason: str) -> None:
    if LINES:
        write_line(test, "failed", 0.0, reason)
    if WORKER:
        os._exit(86)


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
