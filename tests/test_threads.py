"""Machines with more threads than this one: the parts that schedulers make for them, one after another."""

import contextlib
import sys
from pathlib import Path

import pytest
import torch
from compare import cotangents_for, with_gradients
from op_calls import CASES

import vfi_kernels as vk
from vfi_kernels.bench.jobs import Job
from vfi_kernels.bench.measure import contender, make_arguments

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import threads as table

OPS = torch.ops.vfi_kernels
COUNTS = (1, 3, 16)
LARGE = [name for name, case in CASES.items() if case.large and case.op != "mixture_lora"]  # whose products are torch's
FEWER = {("modulated_deform_conv2d", "backward"): 4}  # blocks of 32 channels, each with an image of sums of its own


@contextlib.contextmanager
def simulated(count):
    OPS.simulate_threads(count)
    try:
        yield
    finally:
        OPS.simulate_threads(0)


def wide(shape):
    return (*shape[:-2], shape[-2] * 6, shape[-1] * 3)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.generic])
@pytest.mark.in_turn(of=3)
def test_results_are_those_of_one_thread(name, threads):
    case, found = CASES[name], []
    threads(1)
    inputs = case.make_inputs(*wide(case.small[-1]), dtype=torch.float32, generator=torch.Generator().manual_seed(7))
    for count in COUNTS:
        with simulated(count):
            outs, grads = with_gradients(case.call, inputs, cotangents_for)
        found.append([*outs, *grads])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a.nan_to_num(), b.nan_to_num()) and torch.equal(a.isnan(), b.isnan())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["forward", "backward"])
@pytest.mark.parametrize("name", LARGE)
@pytest.mark.in_turn(of=6)
def test_sixteen_threads_have_work(name, mode, threads):
    """At the shapes of the benchmarks, in at least one step; and the last of its parts is not much smaller."""
    threads(1)
    case = CASES[name]
    recording = "inference_mode" if mode == "forward" else "grad"
    job = Job(name, "", next(iter(case.large.values())), mode=mode, recording=recording)
    run = contender(case.call, make_arguments(case, job, "float32"), job, contextlib.nullcontext)
    with run.around(), simulated(16):
        run.run()
        regions = OPS.simulated_regions()
    units, parts = max(((int(u), int(p)) for u, p, _, _ in regions.tolist()), key=lambda r: r[1], default=(0, 0))
    least = FEWER.get((case.op, mode), 16 if mode == "backward" or units >= 32 else 11)
    assert parts >= least
    assert parts < 16 or units in (16, 32) or units / (16 * -(-units // 16)) > 0.7


def test_what_is_recorded():
    image, flow = torch.rand(1, 3, 200, 400), torch.rand(1, 2, 200, 400)
    expected = vk.backward_warp(image, flow)
    with simulated(16):
        assert torch.equal(vk.backward_warp(image, flow), expected)
        (region,) = OPS.simulated_regions().tolist()
    assert region[:2] == [200, 16] or region[1] < 16
    assert 0 < region[2] <= region[3]
    assert len(OPS.simulated_regions()) == 0
    with simulated(16), pytest.raises(RuntimeError):
        vk.backward_warp(image, flow[:, :1])


def test_the_table(threads):
    threads(1)
    cases = [CASES["backward_warp-border"], CASES["splat-softmax"]]
    rows = list(table.rows(cases, rounds=1, size=(1, 3, 64, 96)))
    assert [(r.name, r.mode) for r in rows] == [(c.name, mode) for c in cases for mode in ("forward", "backward")]
    assert all(len(row.cells()) == len(table.HEAD) and row.seconds[1] > 0 for row in rows)
