"""`vfi-kernels bench --simulate`: its rows, and the bounds that it makes of counts."""

import json
from dataclasses import replace

import pytest

from vfi_kernels import _cli
from vfi_kernels.bench import growth, simulator
from vfi_kernels.bench.gpus import GPUS, bounds, occupancy
from vfi_kernels.bench.jobs import plan
from vfi_kernels.bench.measure import make_arguments
from vfi_kernels.testing import load_cases, made_large

KERNEL = {
    "name": "kernel", "sectors_read": 10**6, "sectors_written": 10**6, "sectors_added": 5 * 10**5, "issued": 10**7,
    "issued_by_class": {"move": 10**6, "parameter": 10**6, "special": 10**5, "double": 0},
    "requests_by_class": {"load_global": 10**6, "load_shared": 5}, "sectors_by_class": {"atomic": 2 * 10**6},
    "wavefronts": 10**6, "tensor_multiplications": {"half": 10**9, "tf32": 0}, "registers": 40, "block_threads": 256,
    "shared_bytes": 40 * 1024,
}  # fmt: skip


def test_bounds_are_counts_over_rates():
    gpu = GPUS["H100"]
    clocks = 132 * 1.98e3
    expected = {
        "memory": 32 * 3e6 / 3.35e6, "issue": 8e6 / 4 / clocks, "shared memory": 2e6 / clocks, "atomics": 1e6 / clocks,
        "tensor core": 2e9 / 989.4e6,
    }  # fmt: skip
    assert bounds(KERNEL, gpu) == pytest.approx(expected)
    doubles = {**KERNEL, "issued_by_class": {"double": 10**7}}
    assert bounds(doubles, GPUS["RTX 4090"])["issue"] == pytest.approx(10**7 * 32 / 2 / (128 * 2.52e3))
    assert bounds({k: KERNEL[k] for k in ("name", "sectors_read", "sectors_written", "sectors_added")}, gpu).keys() == {
        "memory"
    }


@pytest.mark.parametrize(
    ("name", "expected"), [("H100", 5 * 256 / 2048), ("A100", 3 * 256 / 2048), ("RTX 4090", 2 * 256 / 1536)]
)
def test_occupancy_is_bounded_by_shared_memory(name, expected):
    shared = KERNEL if name == "H100" else {**KERNEL, "shared_bytes": 49 * 1024}
    assert occupancy(shared, GPUS[name]) == expected


def test_occupancy_is_bounded_by_registers():
    assert occupancy({**KERNEL, "shared_bytes": 0, "registers": 121}, GPUS["H100"]) == 2 * 256 / 2048


def test_a_launch_of_few_blocks_keeps_few_multiprocessors_busy():
    few = {**KERNEL, "most_blocks": 33}
    assert bounds(few, GPUS["H100"])["issue"] == pytest.approx(4 * bounds(KERNEL, GPUS["H100"])["issue"])
    assert bounds({**few, "sized_by_device": True}, GPUS["H100"]) == bounds(KERNEL, GPUS["H100"])


@pytest.mark.nightly
def test_rows_of_a_call(tmp_path, capsys):
    file = tmp_path / "counts.json"
    command = [
        "bench",
        "--simulate",
        "--op",
        "backward_warp-border",
        "--shape",
        "1x3x32x64",
        "2x3x64x128",
        "--gpu",
        "H100",
    ]
    assert _cli.main([*command, "--mode", "forward", "backward", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    for row in rows:
        assert {
            "op",
            "mode",
            "dtype",
            "layout",
            "shape",
            "deterministic",
            "instructions_per_pixel",
            "bytes_ratio",
        } <= row.keys()
        assert row["bound_us"]["H100"] > 0 and row["bound_by"]["H100"] in (
            "issue",
            "memory",
            "atomics",
            "shared memory",
        )
    small, large = (
        [r for r in rows if r["shape"] == s and r["mode"] == "forward"] for s in ("1x3x32x64", "2x3x64x128")
    )
    kernel, total = small
    assert kernel["kernel"].startswith("_Z") and total["kernel"] == "all" and kernel["registers"] > 0
    assert 100 < kernel["instructions_per_pixel"] == total["instructions_per_pixel"] < 1000
    # Eight times as much work by eight times as many blocks, fewer than multiprocessors.
    assert large[1]["bound_us"]["H100"] == pytest.approx(total["bound_us"]["H100"], rel=0.2)
    assert large[1]["instructions_per_pixel"] == pytest.approx(total["instructions_per_pixel"], rel=0.2)
    backward = [r for r in rows if r["mode"] == "backward" and r["shape"] == "1x3x32x64"]
    assert {r["deterministic"] for r in backward} == {False, True}
    added = {r["deterministic"]: r["sectors"]["added"] for r in backward if r["kernel"] == "all"}
    assert added[False] > 0.1 and added[True] < 0.01  # a bound of flows, whole numbers
    assert "backward_warp_kernel<float" in capsys.readouterr().out


def test_what_cannot_be_is_one_sentence(monkeypatch, tmp_path, capsys):
    assert _cli.main(["bench", "--simulate", "--op", "splat", "--gpu", "V100"]) == 2
    assert "expected --gpu to be one of A100, H100, H200, RTX 4090, got V100" in capsys.readouterr().err
    monkeypatch.setattr(simulator, "ROOT", tmp_path)
    monkeypatch.setattr(simulator, "_loaded", None)
    assert _cli.main(["bench", "--simulate", "--op", "splat", "--shape", "1x3x8x8"]) == 2
    assert "--simulate cannot run: the simulator is built from a source checkout" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("case", "shape", "sizes"),
    [
        ("backward_warp-border", "2x7x1080x1920", [(1, 7, 64, 64), (1, 7, 64, 256), (1, 7, 256, 256)]),
        ("backward_warp-border", "2x7x50x60", [(2, 7, 50, 60)]),
        ("backward_warp-border", "16x3x224x224", [(1, 3, 64, 64), (1, 3, 64, 224), (1, 3, 224, 224)]),
        ("sepconv-51", "1x3x256x448", [(1, 3, 64, 128), (1, 3, 128, 128)]),
        ("routed_conv2d-64", "1x32x1088x2048", [(1, 32, 128, 128), (1, 32, 256, 256)]),
        ("mixture_lora-segments", "1x1x4096x5120", [(1, 1, 128, 5120), (1, 1, 256, 5120)]),
    ],
)
def test_small_sizes_keep_what_does_not_grow(case, shape, sizes):
    (job,) = plan(op=[case], shape=[shape], threads=[1])
    assert growth.small_sizes(job) == sizes


@pytest.mark.in_turn(of=4)
@pytest.mark.parametrize("case", [case for case in load_cases().values() if case.large], ids=lambda c: c.name)
def test_the_least_bytes_are_those_of_the_whole(case):
    """Continued from small inputs: these hold what those of benchmarks hold."""
    (job,) = plan(op=[case.name], shape=["first"], threads=[1])
    sizes = growth.small_sizes(job)
    with made_large():
        small = [case.bytes_moved(*make_arguments(case, replace(job, size=size), job.dtype)) for size in sizes]
    whole = case.bytes_moved(*make_arguments(case, job, job.dtype))
    assert growth.grown(small, sizes, job.size) == pytest.approx(whole, rel=0.01)


def test_counts_are_continued():
    """A kernel with a part that does not grow and one that grows with the borders; and one that a smaller run lacks."""

    def cost(b, _, h, w):
        return 100 + b * (7 * (h + w) + 5 * h * w)

    sizes, to = [(1, 3, 64, 64), (1, 3, 64, 256), (1, 3, 256, 256)], (2, 3, 1000, 700)
    runs = [[{"name": "a", "lanes": cost(*size), "issued_by_class": {"move": 10}, "registers": 9}] for size in sizes]
    runs[2] += [{"name": "b", "lanes": 256 * 256}]
    a, b = growth.extrapolated(runs, sizes, to)
    assert a["lanes"] == pytest.approx(cost(*to)) and a["issued_by_class"]["move"] == pytest.approx(10)
    assert a["registers"] == 9 and b["lanes"] == pytest.approx(2 * 1000 * 700)
    assert growth.extrapolated(runs[2:], sizes[2:], sizes[2]) == runs[2]
