"""The CUDA kernels, run on the CPU: what only an emulation can show. The tests of ops: test_cuda_emulation_ops.py."""

import functools
import math

import numpy as np
import pytest
import torch
import vfi_kernels_testing as native
from compare import forward, gradients, make_cotangents
from emulation import emulated_cuda, emulated_op, in_a_way
from every_op import channels_last, check_all, every_case
from op_calls import CASES, make

import vfi_kernels as vk
from vfi_kernels.ops._shared.reference_math import bilinear
from vfi_kernels.testing import map_tensors

SEEDS = (0, 1, 7)


@pytest.fixture(params=["atomic", pytest.param("deterministic", marks=pytest.mark.slow)])
def backend(request, monkeypatch):
    """The imported tests run on the emulated kernels; with the deterministic scatter too in the slow run."""
    yield from in_a_way(request, monkeypatch)


@pytest.fixture
def atomic(monkeypatch):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)


def run_all(case, arguments):
    return forward(case.call, arguments) + gradients(case.call, arguments, make_cotangents(case.call, arguments))


@every_case
@pytest.mark.in_turn
def test_under_several_thread_orders(case, atomic):
    """1 is that of the tests of every op."""
    orders = [functools.partial(emulated_cuda, seed) for seed in SEEDS if seed != 1]
    check_all(case, make(case, (2, 6, 11, 37), torch.float16), orders)


@pytest.mark.slow
@every_case
@pytest.mark.parametrize("flow", ["zoom-out", "noise"])
def test_the_deterministic_way_does_not_depend_on_the_thread_order(case, flow):
    arguments = make(case, (2, 5, 11, 37), flow=flow)
    results = []
    for seed in SEEDS:
        with emulated_cuda(seed):
            results.append(run_all(case, arguments))
            if seed == SEEDS[-1]:
                check_all(case, arguments)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_the_other_way_does_depend_on_it(atomic):
    """So the test above would see a sum whose order is not fixed."""
    image, flow = torch.randn(1, 3, 24, 40), 8 * torch.randn(1, 2, 24, 40)
    results = []
    for seed in SEEDS:
        with emulated_cuda(seed):
            results.append(emulated_op("splat")([image], flow, None, "sum", "zero", False, False)[0][0])
    assert not all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("flow", ["point", "zoom-out", "smooth", "noise", "integer"])
@pytest.mark.parametrize("rows", [1, 3, 70], ids="{} rows".format)
def test_corners_that_meet_in_registers(flow, rows, backend):
    """Runs of equal cells, shared columns and shared rows, in columns longer and shorter than a thread's."""
    check_all(CASES["splat-softmax"], make(CASES["splat-softmax"], (1, 3, rows, 45), flow=flow))


@pytest.mark.parametrize("channels", [1, 3, 4, 8, 12, 40], ids="C={}".format)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("name", ["backward_warp-zeros", "warp_blend", "splat-softmax-several"])
def test_channels_in_packs_and_alone(name, channels, dtype, backend):
    """channels_last is read in packs of 16 bytes where the channels and the address allow it."""

    def off_by_one_element(t):
        room = torch.empty(t.numel() + 1, dtype=t.dtype)
        return room[1:].as_strided(t.shape, channels_last(t).stride()).copy_(t)

    arguments = make(CASES[name], (1, channels, 3, 10), dtype)
    check_all(CASES[name], map_tensors(channels_last, arguments))
    check_all(CASES[name], map_tensors(off_by_one_element, arguments))


def test_more_rows_than_a_grid_has():
    image = torch.randn(1, 1, 70000, 1)
    flow = torch.zeros(1, 2, 70000, 1)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = image.expand(1, 2, 70000, 1).contiguous(memory_format=layout)
        assert torch.equal(emulated_op("backward_warp")(x, flow, "border"), x)


def test_more_samples_than_a_grid_has():
    image, flow = torch.randn(65537, 1, 1, 1), torch.zeros(65537, 2, 1, 1)
    assert torch.equal(emulated_op("backward_warp")(image, flow, "border"), image)


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", [False, True], ids=["atomic", "deterministic"])
def test_more_groups_of_channels_than_a_grid_has(deterministic):
    image, flow = torch.randn(1, 4 * 65537, 1, 2), torch.zeros(1, 2, 1, 2)
    (out,), _, _ = emulated_op("splat")([image], flow, None, "sum", "zero", False, deterministic)
    assert torch.equal(out, image)


def test_a_gradient_of_the_wrong_shape_is_refused():
    image, flow = torch.randn(1, 2, 4, 5), torch.zeros(1, 2, 4, 5)
    sentence = r"backward_warp: expected grad_out of shape \(1, 2, 4, 5\), got \(1, 2, 4, 4\)"
    with pytest.raises(RuntimeError, match=sentence):
        emulated_op("backward_warp_grad")(image[..., :4], image, flow, "border", False, True, True)


# Trajectories: keyframes that do not fit in shared memory.


def test_more_keyframes_than_are_held(backend):
    """A float column holds 20 keyframes, a double one 10; beyond that each tau reads its own."""
    rng = torch.Generator().manual_seed(2)
    image, taus = torch.randn(1, 3, 9, 21, generator=rng), torch.rand(4, generator=rng)
    for count in (20, 21):
        keyframes = 3 * torch.randn(1, count, 2, 9, 21, generator=rng)
        held, wide = (
            vk.trajectory_warp(image.to(d), keyframes.to(d), taus.to(d)) for d in (torch.float32, torch.float64)
        )
        flows = vk.sample_trajectory(keyframes.double(), taus.double())[0]
        expected = torch.stack([vk.backward_warp(image.double(), flow[None]) for flow in flows], 1)
        torch.testing.assert_close(wide, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(held.double(), expected, rtol=1e-4, atol=1e-4)


# The emulation itself: planted mistakes are found.


def in_order(seed, function, *arguments):
    native.set_seed(seed)
    try:
        return function(*arguments)
    finally:
        native.set_seed(0)


def test_a_missing_barrier_shows_in_some_order():
    values = np.arange(64, dtype=np.float32)
    for seed in range(4):
        np.testing.assert_array_equal(in_order(seed, native.reverse, values, True), values[::-1])
    assert any(not np.array_equal(in_order(s, native.reverse, values, False), values[::-1]) for s in range(4))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_divergent_barrier_raises(seed):
    with pytest.raises(RuntimeError, match="divergent barrier"):
        in_order(seed, native.divergent_block, np.zeros(64, np.float32))
    with pytest.raises(RuntimeError, match="a lane that does not take part"):
        in_order(seed, native.divergent_warp, np.zeros(64, np.float32))


def test_a_sum_depends_on_the_order():
    values = np.float32(10.0) ** np.random.default_rng(0).uniform(-6, 6, 64).astype(np.float32)
    assert len({in_order(seed, native.ordered_sum, values) for seed in range(8)}) > 1


def test_half_precision_rounding_of_host_and_emulation():
    rng = np.random.default_rng(1)
    values = [0.0, -0.0, 6e-8, 3e-8, 65504.0, 65519.9, 65520.0, 1e-40, math.inf, -math.inf]
    values += list((rng.standard_normal(500) * 10.0 ** rng.uniform(-9, 6, 500)).astype(np.float32).astype(float))
    for x in values:
        for dtype, name in ((torch.float16, "half"), (torch.bfloat16, "bfloat16")):
            expected = torch.tensor(x, dtype=torch.float32).to(dtype).item()
            for function in (getattr(native, f"round_to_{name}"), getattr(native, f"host_round_to_{name}")):
                assert function(x) == expected
                assert math.copysign(1, function(x)) == math.copysign(1, expected)
    assert math.isnan(native.round_to_half(math.nan)) and math.isnan(native.host_round_to_bfloat16(math.nan))


# The scalar math that host and device share.


def test_elements_beyond_two_to_the_31():
    shape = (8, 33, 2160, 3840)
    assert native.dense_elements(*shape) == 8 * 33 * 2160 * 3840 > 2**31
    b, c, h, w = shape
    assert native.dense_offset(*shape, False, b - 1, c - 1, h - 1, w - 1) == b * c * h * w - 1
    assert native.dense_offset(*shape, True, b - 1, c - 1, h - 1, w - 1) == b * c * h * w - 1
    for last in (False, True):
        like = torch.empty(shape, device="meta", memory_format=torch.channels_last if last else torch.contiguous_format)
        expected = sum(i * s for i, s in zip((7, 32, 1000, 2000), like.stride()))
        assert native.dense_offset(*shape, last, 7, 32, 1000, 2000) == expected
    # One plane, one row: each product alone passes 2^31.
    assert native.dense_offset(1, 1, 65536, 65536, False, 0, 0, 65535, 65535) == 2**32 - 1
    assert native.dense_offset(1, 4096, 2, 1 << 20, True, 0, 0, 1, 0) == 2**32
    assert native.strided_offset([2**33, 2**32, 2**20, 3], 1, 1, 4096, 5) == 2**33 + 2**32 + 2**32 + 15


@pytest.mark.parametrize("padding", ["border", "zeros", "reflection"])
@pytest.mark.parametrize("float64", [False, True], ids=["float32", "float64"])
def test_positions_agree_with_the_reference(padding, float64):
    dtype = torch.float64 if float64 else torch.float32
    values = [0.0, -0.0, 0.25, -0.25, 1.0, -1.0, 3.5, -7.25, 8.0, -1e-10, 1e-30, 1e30, -1e30, 3e9]
    values += [12.0, 20.5, -36.75, 123456.5, 5e8, math.inf, -math.inf, math.nan]
    size, start = 9, 4
    for f in values:
        flow = torch.tensor([[[[f]], [[0.0]]]], dtype=dtype).expand(1, 2, 1, start + 1).contiguous()
        flow[:, 1] = 0
        expected = {}
        for corner in bilinear.corners(flow, (1, size), padding):
            weight = corner.term(corner.weight, torch.ones_like(corner.weight))[0, 0, 0, start].item()
            if weight:
                expected[corner.index[0, 0, start].item()] = weight
        positions = {
            x: w for _, x, w in native.corners(padding, f if float64 else float(np.float32(f)), 0.0, start, 0, size, 1)
        }
        if float64:
            assert positions == expected, f
        axis = native.axis(padding, f, start, size, float64)
        assert 0 <= axis["l"] <= 1 and (axis["l"] < 1 or padding == "reflection")
        if expected:
            assert axis["at"] == min(expected) - (axis["r"] == 0)
