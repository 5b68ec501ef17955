"""Random calls agree with the reference; their arguments lie against pages that may not be touched."""

import dataclasses
import inspect
import signal
import subprocess
from pathlib import Path
from random import Random

import pytest
import torch
from agreement import Trial, differences
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from levels import every_level, run_at_level
from processes import warm_python
from random_calls import CASES, OPS, OPTIONS, options_of, random_call

import vfi_kernels as vk

TESTS = Path(__file__).resolve().parent
every_op = pytest.mark.parametrize("op", OPS)
some = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


@every_op
@settings(some, max_examples=50, derandomize=True)
@given(rng=st.randoms(use_true_random=False))
def test_random_calls_agree(op, rng):
    check(op, rng)


@pytest.mark.nightly
@every_op
@settings(some, max_examples=10_000)
@given(rng=st.randoms(use_true_random=False))
def test_many_random_calls_agree(op, rng):
    check(op, rng)


@pytest.mark.nightly
@every_level
@every_op
def test_random_calls_agree_at_every_level(op, level):
    run_at_level(level, __file__, f"check_seeds({op!r}, 2000)")


def check_seeds(op: str, count: int) -> None:
    for seed in range(count):
        check(op, Random(f"{op} {seed}"))


@pytest.fixture(autouse=True)
def one_thread(threads):
    """The tensors are small: threads would only wait for each other."""
    threads(1)


def check(op: str, rng: Random) -> None:
    call = random_call(op, rng)
    listed = differences(Trial(op, call, rng), "cpp")
    assert not listed, f"{call}: {listed}"


def test_every_function_and_option_is_drawn():
    """A new op, and a new option of one, come here by themselves or fail here."""
    functions = {n for n in vk.__all__ if inspect.isfunction(getattr(vk, n))} - {"use_backend"}
    assert functions == set(OPS)
    for case in CASES.values():
        unknown = options_of(case) - set(OPTIONS)
        assert not unknown, f"tests/random_calls.py: OPTIONS has no values of {case.op}'s {unknown}"


@pytest.mark.parametrize("fault", ["value", "nan", "dtype"])
def test_a_wrong_result_is_found(fault):
    """The first of the two runs is the kernel's."""
    rng = Random(4)
    call = random_call("correlation", rng)
    trial = Trial("correlation", call, rng)
    assert not differences(trial, "cpp")
    changes = {
        "value": lambda out: out + 1e-4 * (out == out.max()),
        "nan": lambda out: torch.where(out == out.max(), torch.nan, out),
        "dtype": lambda out: out.to(torch.float64 if out.dtype != torch.float64 else torch.float32),
    }
    runs = []

    def function(*arguments):
        runs.append(len(runs))
        out = call.function(*arguments)
        return changes[fault](out) if len(runs) == 1 else out

    trial.call = dataclasses.replace(call, function=function)
    assert differences(trial, "cpp")


@pytest.mark.parametrize(("behind", "at"), [(True, "t.data_ptr() + t.nbytes"), (False, "t.data_ptr() - 1")])
def test_a_read_beyond_the_end_is_found(behind, at):
    program = f"""
import ctypes, torch, guard_pages
t = guard_pages.guarded(1000, torch.float32, behind={behind})
assert t.isnan().all() and t.fill_(3).sum() == 3000
print("placed", flush=True)
ctypes.string_at({at}, 1)
"""
    done = subprocess.run([*warm_python(), "-c", program], cwd=TESTS, capture_output=True, text=True)
    assert done.stdout == "placed\n" and done.returncode == -signal.SIGSEGV
