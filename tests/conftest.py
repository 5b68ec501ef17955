"""Shared fixtures: every backend that can run here, fresh memory full of NaN, a fixed seed."""

import contextlib
import gc
import os
from collections import Counter

os.environ.setdefault("TRITON_INTERPRET", "1")  # before the first import of triton: its kernels then run on CPU tensors
# torch finds a compiled graph by the forward op alone: one kept from before a gradient's schema changed would be used.
os.environ.setdefault("TORCHINDUCTOR_AUTOGRAD_CACHE", "0")
os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "0")
os.environ["VFI_KERNELS_FILL_MEMORY"] = "1"  # read once, by the compiled library: see fresh_memory

import pytest
import torch

import vfi_kernels as vk
from vfi_kernels import backends

# What must be able to run here; a missing one fails, so that a broken build never looks like a pass.
ON_CPU = ("reference", "cpp")  # Triton in its interpreter takes seconds a call: tests/test_triton.py


@pytest.fixture(params=ON_CPU)
def backend(request, monkeypatch):
    """Every op runs with this backend inside the test."""
    name, _, deterministic = request.param.partition("-")
    if not deterministic:  # the flag is on for fresh_memory; the op shall take its usual path
        monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    with vk.use_backend(name):
        yield request.param


@pytest.fixture(autouse=True)
def fresh_memory():
    """Uninitialised tensors hold NaN, also those made in C++: an element that a kernel forgets to write is seen."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(20)


@pytest.fixture
def threads():
    """Sets the number of CPU threads; put back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@contextlib.contextmanager
def oracle():
    """The reference backend."""
    with vk.use_backend("reference"):
        yield


def pytest_report_header() -> list[str]:
    level = backends.cpu_level()
    reasons = [f"{b}: {backends.unavailable(b) or 'yes'}" for b in backends.BACKENDS]
    return [f"vfi_kernels: CPU level {level}; " + "; ".join(reasons)]


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Makes a million objects that stay: to look for others among them took a third of its time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def place(item: pytest.Item, name: str) -> int:
    """Where the value of a parameter stands in its list."""
    (values,) = (mark.args[1] for mark in item.iter_markers("parametrize") if mark.args[0] == name)
    return [value is item.callspec.params[name] for value in values].index(True)


def is_out_of_turn(item: pytest.Item) -> bool:
    """@pytest.mark.in_turn("a", "b", of=3): by day each value of a with every third of b, and the other way round;
    without names of all parameters, so that none of two backends is left out. Which they are differs from file to file;
    a test without parameters runs."""
    mark = item.get_closest_marker("in_turn")
    if mark is None or not hasattr(item, "callspec"):
        return False
    if mark.args:
        turn = sum(place(item, name) for name in mark.args)
    else:
        given = [mark.args[0] for mark in item.iter_markers("parametrize")]
        together = [names.split(",") if isinstance(names, str) else names for names in given]
        repeated = {name.strip() for names in together for name in names[1:]}
        turn = sum(index for name, index in item.callspec.indices.items() if name not in repeated)
    return (turn + len(item.path.stem)) % mark.kwargs.get("of", 2) != 0


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A module's `is_repeated` says which of its tests repeat another, and are left out; its `is_nightly` which are.

    The longest test comes first: begun last, it would keep one process busy while the others have nothing left.
    """

    def never(item: pytest.Item) -> bool:
        return False

    repeated = {item for item in items if getattr(item.module, "is_repeated", never)(item)}
    for item in items:
        if getattr(item.module, "is_nightly", never)(item) or is_out_of_turn(item):
            item.add_marker(pytest.mark.nightly)
    if repeated:
        config.hook.pytest_deselected(items=list(repeated))
        items[:] = [item for item in items if item not in repeated]
    items.sort(key=lambda item: "test_triton_aot" not in item.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where the time of a long run went, so that growth is seen. Nothing fails for it: machines differ."""
    seconds: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        if isinstance(report, pytest.TestReport):
            file = report.nodeid.partition("::")[0]
            seconds[file] += report.duration
            tests[file] += report.when == "call"
    if tests.total() > 1000:
        terminalreporter.section(f"slowest files, of {sum(seconds.values()):.0f} seconds in all processes")
        for file, duration in seconds.most_common(12):
            terminalreporter.line(f"{duration:6.0f} s {tests[file]:6} tests  {file}")
