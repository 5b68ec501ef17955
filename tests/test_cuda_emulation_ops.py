"""Every test that takes a backend, those of all ops and those of each, on the CUDA kernels emulated on the CPU. What is
tested so is found by itself: a new op, and a new test of one, are among it."""

import importlib
import inspect
from pathlib import Path

import pytest
import torch
from emulation import OPS, in_a_way
from op_calls import CASES, first_cases
from test_every_op import VIEWS

from vfi_kernels._autograd import NAMESPACE

pytestmark = pytest.mark.in_turn
TESTS = Path(__file__).resolve().parent
# Minutes in the emulation, also what follows the op's name: in the slow run. (test_lora_kernels.py has most of the
# first in the fast one.)
LONG = ("ops.test_mixture_lora", "ops.test_routed_conv2d")


def taking_a_backend(name):
    """The tests of a module with the fixture `backend`."""
    for test, function in vars(importlib.import_module(name)).items():
        if test.startswith("test_") and "backend" in inspect.signature(function).parameters:
            assert function.__module__ == name, f"{name} imports {test}"
            yield test, function


FAST_DTYPES = (torch.float32, torch.float16)
GENERIC = [path.stem for path in sorted(TESTS.glob("test_every_op*.py"))]
MODULES = [*GENERIC, *(f"ops.{path.stem}" for path in sorted((TESTS / "ops").glob("test_*.py")))]
FOUND = {f"{test}_of_{name.rpartition('test_')[2]}": f for name in MODULES for test, f in taking_a_backend(name)}
globals().update(FOUND)


def asks_which_way(op):
    """Whether the schema of `op`, or of its gradient, has the deterministic way beside the atomic one."""
    names = [name for name in (op, f"{op}_grad") if name in OPS]
    schemas = [getattr(getattr(torch.ops, NAMESPACE), name).default._schema for name in names]
    return any(argument.name == "deterministic" for schema in schemas for argument in schema.arguments)


def pytest_generate_tests(metafunc):
    """The deterministic way, where there is one, in the slow run; that of tests of minutes nightly."""
    if "backend" not in metafunc.fixturenames:
        return
    name = metafunc.function.__module__
    op = name.rpartition("test_")[2].removesuffix("_errors")
    long = name.startswith(LONG)
    ways = [pytest.param("atomic", marks=pytest.mark.slow if long else ())]
    if name in GENERIC or asks_which_way(op):
        ways.append(pytest.param("deterministic", marks=pytest.mark.nightly if long else pytest.mark.slow))
    metafunc.parametrize("backend", ways, indirect=True)


def is_repeated(item):
    """Whether a case of an op with one way is to take the deterministic one: conftest.py leaves it out."""
    given = item.callspec.params if hasattr(item, "callspec") else {}
    op = getattr(given.get("case"), "op", None)
    return given.get("backend") == "deterministic" and op is not None and not asks_which_way(op)


def is_nightly(item):
    """An op's first case has every dtype and every view here; each other case float32, float16 and a view in turn."""
    given = item.callspec.params if hasattr(item, "callspec") else {}
    case, view, dtype = (given.get(name) for name in ("case", "view", "dtype"))
    if case is None or case in first_cases():
        return False
    turn = view in VIEWS and VIEWS.index(view) != list(CASES).index(case.name) % len(VIEWS)
    return turn or (item.originalname == "test_agrees_with_the_oracle_of_every_op" and dtype not in FAST_DTYPES)


@pytest.fixture
def backend(request, monkeypatch):
    yield from in_a_way(request, monkeypatch)


def test_every_op_with_kernels_has_tests_here():
    """By the names of their files: ops on patches have one together."""
    with_tests = {name.rpartition("test_")[2] for name in MODULES}
    alone = {op.removesuffix("_").removesuffix("_grad") for op in OPS if not op.startswith("patch_")}
    assert alone <= with_tests, f"no tests/ops/test_<op>.py for {sorted(alone - with_tests)}"
    assert "patches" in with_tests
    names = {name for name in MODULES if any(f.__module__ == name for f in FOUND.values())}
    assert not {f"ops.test_{op}" for op in (*alone, "patches")} - names, "files without a test that takes a backend"
