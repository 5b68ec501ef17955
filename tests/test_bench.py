"""The benchmark engine: what it plans and measures, and beside what. Nothing here depends on how fast anything is."""

import contextlib
import dataclasses
import importlib.util
import json
import subprocess
import sys
import types

import pytest
import torch
from brief_benchmarks import BRIEF, CASES, SHAPE, every_case, rows_of, same_threads  # noqa: F401
from processes import warm_python

import vfi_kernels.compat.torchvision
from vfi_kernels.bench import gate, jobs, measure, overhead, timing
from vfi_kernels.bench.peers import load_peers
from vfi_kernels.bench.session import Session
from vfi_kernels.testing import load_cases


class Clock:
    """Returns given times, and remembers the order in which it was asked."""

    def __init__(self, seconds):
        self.seconds, self.asked = seconds, []

    def calls(self, once, budget):
        return 1

    def sample(self, contender, calls):
        self.asked.append(contender.run())
        return self.seconds[contender.run()]


def contenders(*names):
    return {name: timing.Contender(lambda name=name: name) for name in names}


def test_every_round_asks_everyone_once_and_starts_one_place_later():
    clock = Clock({"a": 1e-6, "b": 2e-6, "c": 3e-6})
    summaries = timing.interleave(contenders("a", "b", "c"), clock, timing.Budget(seconds=60, rounds=(3, 3)))
    assert "".join(clock.asked) == "aabbcc" + "abc" + "bca" + "cab"
    assert summaries["b"]["median_ms"] == pytest.approx(2e-3) and summaries["b"]["samples"] == 3


def test_a_contender_that_used_up_its_time_rests():
    clock = Clock({"slow": 2.0, "fast": 1e-6})
    summaries = timing.interleave(contenders("slow", "fast"), clock, timing.Budget(seconds=4, rounds=(7, 7), enough=3))
    assert summaries["slow"]["samples"] == 3 and summaries["fast"]["samples"] == 7


def test_summary_is_median_and_quartiles():
    summary = timing.summary([0.001, 0.002, 0.003, 0.004, 0.100], calls=2)
    assert (summary["low_ms"], summary["median_ms"], summary["high_ms"]) == pytest.approx((2, 3, 4))


def test_short_calls_are_repeated():
    clock = timing.CpuClock()
    assert clock.calls(1e-5, timing.Budget(sample=0.01)) == 1000
    assert clock.calls(1.0, timing.Budget(sample=0.01)) == 1
    seen = []
    clock.sample(timing.Contender(lambda: seen.append(1)), 5)
    assert len(seen) == 5


def test_ratios_are_quotients_of_medians():
    times = {"ours": 2.0, "RIFE": 6.0, "ours float32": 3.0, "copy": 1.0}
    ratios = measure.ratios({name: {"median_ms": ms} for name, ms in times.items()})
    assert ratios == {"times_faster": {"RIFE": 3.0, "ours float32": 1.5}, "times_floor": 2.0}


def test_a_plan_is_every_combination():
    planned = jobs.plan(op=["splat-softmax"], dtype=["float32", "float16"], mode=["forward", "both"], threads=[1, 2])
    assert len(planned) == 4 * 2 * 2 * 2  # four shapes
    assert {job.recording for job in planned if job.mode == "both"} == {"grad"}


@pytest.mark.parametrize(
    "choices, sentence",
    [
        ({"op": ["nope"]}, "expected --op to be one of adacof, .*, got nope"),
        ({"dtype": ["int8"]}, "expected --dtype to be one of float32, .*, got int8"),
        ({"shape": ["huge"]}, "expected --shape to be one of 1080p, .*, got huge"),
        ({"threads": [0]}, "expected --threads of at least 1, got 0"),
        ({"backend": "cuda"}, "--backend cuda cannot run: "),
    ],
)
def test_a_plan_of_unknown_things_is_refused(choices, sentence):
    with pytest.raises(jobs.UsageError, match=sentence):
        jobs.plan(**choices)


@every_case
@pytest.mark.parametrize("mode", jobs.MODES)
def test_a_row_has_all_that_the_report_needs(case, mode):
    (row,) = rows_of(op=[case.name], mode=[mode])
    peers = {p.name for p in load_peers()[case.op] if not p.compiles}
    assert {"ours", "copy"} <= row["timings"].keys() and row["times_faster"].keys() <= row["timings"].keys()
    assert set(row["timings"]) | set(row["absent"]) >= peers
    assert not peers or peers & row["timings"].keys()
    assert row["times_floor"] == row["timings"]["ours"]["median_ms"] / row["timings"]["copy"]["median_ms"]
    json.dumps(row)


@every_case
@pytest.mark.parametrize("layout", jobs.LAYOUTS)
def test_peers_compute_what_we_do(case, layout):
    """In float32; one that subtracts a single maximum from a wide metric loses pixels, and is marked."""
    (row,) = rows_of(op=[case.name], shape=["2x3x12x16"], layout=[layout], flow=["noise"])
    lossy = {name for name in row["differs"] if case.name == "splat-softmax-wide" and "per target" not in name}
    assert row["differs"] or not load_peers()[case.op]
    assert all(distance < 1e-5 for name, distance in row["differs"].items() if name not in lossy)
    assert all(row["differs"][name] > measure.WRONG for name in lossy)


@every_case
def test_peers_have_our_gradients(case):
    job = jobs.plan(op=[case.name], shape=["2x3x12x16"], mode=["backward"], flow=["noise"])[0]
    arguments = measure.make_arguments(case, job, "float64")
    _, *expected = gate._results(case, arguments)
    options = measure.options_of(case)
    checked = 0
    for peer in load_peers()[case.op]:
        if peer.unsuited(*arguments, **options) or peer.compiles or peer.yardstick or not peer.differentiable:
            continue
        leaves = [t.detach().requires_grad_() for t in arguments]
        out = peer.result(peer.call(*peer.prepare(*leaves, **options), **options))
        grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(out)
        grads = torch.autograd.grad(out, leaves, grad)
        if "wide" not in case.name or "per target" in peer.name:
            checked += 1
            for a, b in zip(grads, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    assert checked or not load_peers()[case.op]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [c for c in CASES if c.name in ("backward_warp-border", "splat-softmax", "warp_blend")]
)
@pytest.mark.in_turn("case", of=3)
def test_compiled_peers_compute_what_we_do(case):
    peers = [p for p in load_peers()[case.op] if p.compiles]
    job = jobs.plan(op=[case.name], shape=["1x3x12x16"], threads=[1])[0]
    row = measure.measure(job, peers, BRIEF, lambda step: None)
    assert peers and all(row["differs"][p.name] < 1e-5 for p in peers)


def test_half_is_compared_with_our_own_float32():
    for row in rows_of(op=["backward_warp-border", "splat-softmax"], dtype=["float16", "bfloat16"]):
        assert "ours float32" in row["times_faster"]


@pytest.mark.parametrize(
    "name, mode, both_ways",
    [("splat-softmax", "forward", True), ("backward_warp-border", "forward", False),
     ("backward_warp-border", "backward", True), ("splat-softmax", "both", True)],
)  # fmt: skip
def test_on_a_gpu_the_deterministic_way_runs_beside_the_other(monkeypatch, name, mode, both_ways):
    """With a GPU of which everything is on the CPU."""
    (job,) = jobs.plan(op=[name], shape=[SHAPE], mode=[mode], threads=[1])
    make, copying = measure.make_arguments, measure.copying
    monkeypatch.setattr(measure, "make_arguments", lambda case, _, dtype: make(case, job, dtype))
    monkeypatch.setattr(measure, "copying", lambda nbytes, device: copying(nbytes, "cpu"))
    monkeypatch.setattr(measure, "clock", lambda device: timing.CpuClock())
    row = measure.measure(dataclasses.replace(job, device="cuda"), [], BRIEF, lambda step: None)
    assert ("ours deterministic" in row["times_faster"]) == both_ways


def test_deterministic_is_torchs_switch_without_the_filling():
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    with measure.deterministically(contextlib.nullcontext):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert before == (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)


def test_torchvision_competes_where_it_is(monkeypatch):
    """Here ours stands for it, under its name and with its parameters."""
    (row,) = rows_of(op=["modulated_deform_conv2d-4"])
    assert importlib.util.find_spec("torchvision") or row["absent"]["torchvision"] == "torchvision is not installed"
    package = types.ModuleType("torchvision")
    package.__spec__ = importlib.machinery.ModuleSpec("torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.ops", vfi_kernels.compat.torchvision)
    (row,) = rows_of(op=["modulated_deform_conv2d-4"], shape=["2x3x12x16"], flow=["noise"])
    assert row["differs"]["torchvision"] < 1e-6


def test_a_row_that_cannot_be_measured_costs_no_other(monkeypatch, tmp_path):
    session = Session("off", quick=True, json_file=tmp_path / "result.json")
    chosen = jobs.plan(op=["splat-sum", "splat-average"], shape=[SHAPE], threads=[1])
    make = measure.make_arguments

    def short_of_memory(case, job, dtype):
        if case.name == "splat-sum":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return make(case, job, dtype)

    monkeypatch.setattr(measure, "make_arguments", short_of_memory)
    session.measure(chosen, [])
    assert [row["case"] for row in session.document["rows"]] == ["splat-average"]
    assert session.document["refused"] == {str(chosen[0]): "OutOfMemoryError: CUDA out of memory"}


def test_the_copy_moves_the_bytes_of_the_floor():
    case = load_cases()["backward_warp-border"]
    image, flow = arguments = case.make_inputs(1, 3, 8, 8, dtype=torch.float32)
    assert measure.bytes_of(case, arguments, "forward") == 2 * image.nbytes + flow.nbytes
    assert measure.bytes_of(case, arguments, "backward") == 3 * image.nbytes + 2 * flow.nbytes
    copy = measure.copying(measure.bytes_of(case, arguments, "forward"), "cpu").run()
    assert 2 * copy.nbytes == measure.bytes_of(case, arguments, "forward")


def test_overhead_covers_every_op_and_state_of_autograd():
    planned = overhead.overhead_jobs(None)
    assert {(load_cases()[j.case].op, j.recording) for j in planned} == {
        (case.op, recording) for case in CASES for recording in jobs.RECORDINGS
    }


def test_importing_the_package_imports_nothing_else():
    """Neither triton nor anything else that torch itself has not imported, the standard library apart."""
    code = """
import sys, torch
before = set(sys.modules)
import vfi_kernels
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))
print(*sorted(n for n in sys.modules if n.split(".")[0] in ("triton", "cv2", "matplotlib", "sympy", "pandas", "av")))
"""
    done = subprocess.run([*warm_python(), "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["vfi_kernels", ""]
