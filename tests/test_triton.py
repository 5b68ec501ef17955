"""The Triton kernels in Triton's interpreter, on tiny inputs, against the float64 oracle."""

import ast
import importlib

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from triton_calls import jit_functions, kernel_names, launch_each
from triton_interpreter import (  # noqa: F401
    CASES,
    Watch,
    channels_last,
    check_all,
    every_second,
    launched_kernels,
    make,
    pytestmark,
    quick_interpreter,
    usual_path,
)

import vfi_kernels as vk
from vfi_kernels import backends
from vfi_kernels.ops._shared.triton_math.bilinear import tile_offset
from vfi_kernels.ops._shared.triton_math.functions import exponential
from vfi_kernels.ops.backward_warp import triton_kernels as warp
from vfi_kernels.ops.correlation import triton_kernels as matching
from vfi_kernels.ops.splat import triton_kernels as splatting
from vfi_kernels.testing import map_tensors

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
FIRST = {case.op: case for case in reversed(CASES.values())}  # of each op


def is_nightly(item):
    """The interpreter takes seconds for a case: the first of each op by day."""
    case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
    return "number" in getattr(item, "fixturenames", ()) and case is not FIRST[case.op]


@pytest.mark.parametrize("number, case", list(enumerate(CASES.values())), ids=CASES)
@pytest.mark.parametrize("view", [None, pytest.param(channels_last, marks=pytest.mark.slow)])
def test_every_case_agrees_with_the_oracle(number, case, view):
    """The dtypes take turns: each meets every kernel in some case and both layouts."""
    arguments = make(case, dtype=DTYPES[(number + (view is not None)) % len(DTYPES)])
    check_all(case, arguments if view is None else map_tensors(view, arguments))


@pytest.mark.in_turn("name", "dtype")
@pytest.mark.parametrize("name", ["backward_warp-zeros", "correlation-1", "splat-softmax-wide", "warp_blend"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(name, dtype):
    check_all(CASES[name], make(CASES[name], dtype=dtype))


@pytest.mark.parametrize("name", ["backward_warp-border", "correlation-1", "splat-linear", "warp_blend"])
def test_any_strides_several_samples_and_blocks(name):
    """Batch 2, more channels than a tile, more pixels than a program; slices and float64 flow beside a half image."""
    arguments = map_tensors(every_second, make(CASES[name], (2, 5, 7, 21)))
    check_all(CASES[name], arguments)
    image, *others = arguments
    if name == "backward_warp-border":
        check_all(CASES[name], (channels_last(image.half()), *map_tensors(torch.Tensor.double, others)))


@pytest.mark.parametrize("name", ["backward_warp-border", "backward_warp-zeros", "splat-softmax", "warp_blend"])
def test_positions_that_are_no_number_or_far_away(name):
    arguments = make(CASES[name], (1, 2, 4, 7))
    flow = next(t for t in arguments if t.shape[1] in (2, 4) and t is not arguments[0])
    for x, value in enumerate((torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 3e9, -1e-30)):
        flow[:, 0, 0, x] = value
        flow[:, 1, 1, x] = value
        flow[:, :, 2, x] = value
    check_all(CASES[name], arguments)


def test_taus_that_are_no_number():
    keyframes, taus = torch.randn(1, 3, 2, 2, 3).requires_grad_(), torch.tensor([0.3, torch.nan, 0.7])
    with vk.use_backend("triton"):
        out = vk.sample_trajectory(keyframes, taus)
        (grads,) = torch.autograd.grad(out, keyframes, torch.ones_like(out))
    torch.testing.assert_close(grads, *torch.autograd.grad(vk.sample_trajectory(keyframes, taus[::2]).sum(), keyframes))


def test_correlation_outside_is_exactly_zero():
    """Also where the pixel itself is not a number, or the gradient that comes back."""
    first, second = torch.randn(2, 1, 2, 3, 4)
    first[0, 0, 0, 0] = first[0, 1, 2, 3] = torch.nan
    with vk.use_backend("reference"):
        expected = vk.correlation(first, second, 2)
        grad_out = torch.where(vk.correlation(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4), 2) == 0, torch.nan, 1.0)
        options = ([2, 2, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1], True)
        gradients = torch.ops.vfi_kernels.correlation_grad(grad_out, first, second, *options, 0, True, True)
    torch.testing.assert_close(matching.correlation(first, second, *options, "dot"), expected, equal_nan=True)
    result = matching.correlation_grad(grad_out, first, second, *options, "dot", True, True)
    for got, wanted in zip(result, gradients):
        torch.testing.assert_close(got, wanted, equal_nan=True)
    assert result[0].isfinite().all()


@pytest.mark.parametrize("mode", ["linear", "softmax"])
def test_a_metric_that_is_no_number_skips_its_pixel(mode):
    x, flow, metric = make(CASES[f"splat-{mode}"])
    metric[0, 0, 1, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    x[0, :, 1, :3] = torch.nan  # not even read: 0 * NaN would show
    check_all(CASES[f"splat-{mode}"], (x, flow, metric))


def test_integer_flow_moves_pixels_bit_for_bit():
    """A corner of weight 0 is not read, so what lies beside an infinite pixel stays finite."""
    image = torch.randn(1, 2, 4, 5)
    image[0, 0, 2, 2] = torch.inf
    flow = torch.zeros(1, 2, 4, 5)
    flow[:, 0] = 1
    with vk.use_backend("triton"):
        assert torch.equal(vk.backward_warp(image, torch.zeros_like(flow)), image)
        assert torch.equal(vk.backward_warp(image, flow)[..., :-1], image[..., 1:])
        assert torch.equal(vk.splat(image, flow, mode="sum")[..., 1:], image[..., :-1])
        assert torch.equal(vk.splat(image, flow, mode="average")[..., 1:], image[..., :-1])
        ones = vk.splat(torch.ones(1, 1, 4, 5), torch.randn(1, 2, 4, 5), torch.randn(1, 1, 4, 5), mode="softmax")
    assert ((ones == 0) | (ones == 1)).all()  # the quotient is rounded correctly


def test_shift_is_per_target_where_metrics_are_far_apart():
    """No pixel is lost to underflow, whatever the other sample or the rest of its own sample holds."""
    x, flow = torch.randn(2, 1, 2, 4), torch.zeros(2, 2, 2, 4)
    metric = torch.tensor([[-1e30, -300.0, 0.0, 1e-3], [88.0, 300.0, 1e30, -2.0]]).expand(2, 1, 2, 4).clone()
    metric[1] = torch.tensor([[0.0, -59.0, -60.0, -5.0], [-1.0, -0.0, -30.0, 1e30]])
    flow[1, :, 1, 3] = torch.nan  # a skipped pixel: its metric does not count
    x[1, :, 1, 3] = 0
    outs, weight, shift = splatting.splat([x], flow, metric, "softmax", "zero", True, False)
    torch.testing.assert_close(outs[0], x, rtol=2e-7, atol=0)
    assert torch.equal(shift[0], metric[0]) and (weight[0] == 1).all()
    assert (shift[1] == 0).all()
    torch.testing.assert_close(weight[1], torch.where(metric[1] <= 0, metric[1].exp(), 0), rtol=3e-7, atol=0)


@pytest.mark.parametrize(
    "name",
    ["backward_warp-border", "backward_warp-zeros", "splat-softmax-several", "trajectory_splat-softmax",
     "trajectory_warp-24", "warp_blend"],
)  # fmt: skip
def test_deterministic_path(name, launched, monkeypatch):
    """It sums without atomics, in the order of the sources, and agrees with the oracle."""
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    check_all(CASES[name], make(CASES[name], flow="zoom-out"))
    assert "_ordered_kernel" in launched and "_scatter_kernel" not in launched


def test_deterministic_sums_follow_scan_order():
    """Everything lands on one pixel: float32 rounding tells in which order it was added."""
    x = torch.tensor([1e8, 1.0, -1e8, 3.0, 1e-3, 7.0]).view(1, 1, 2, 3)
    ys, xs = torch.meshgrid(torch.arange(2.0), torch.arange(3.0), indexing="ij")
    flow = torch.stack([1 - xs, 0 - ys])[None]
    outs, _, _ = splatting.splat([x], flow, None, "sum", "zero", False, True)
    expected = torch.zeros(())
    for value in x.flatten():
        expected = expected + value
    assert outs[0][0, 0, 0, 1] == expected and outs[0].count_nonzero() == 1


def test_nothing_is_launched_for_empty_tensors(launched):
    for shape in ((0, 3, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)):
        for name in (
            "backward_warp-border", "correlation-1", "modulated_deform_conv2d-4", "splat-softmax-several", "warp_blend",
        ):  # fmt: skip
            check_all(CASES[name], make(CASES[name], shape))
    assert launched == []
    check_all(CASES["splat-softmax-weight"], make(CASES["splat-softmax-weight"], (1, 0, 2, 2)))
    check_all(CASES["backward_warp-zeros"], make(CASES["backward_warp-zeros"], (1, 0, 2, 2)))
    check_all(CASES["correlation"], make(CASES["correlation"], (1, 0, 2, 2)))


@pytest.mark.slow
def test_the_host_never_waits_for_the_device():
    """No value is read back, so a call can be captured in a CUDA graph."""
    with Watch() as watch:
        launch_each(torch.float32)
    assert watch.names and not {n for n in watch.names if "_local_scalar_dense" in n or "nonzero" in n or "item" in n}


@pytest.mark.parametrize("view", [lambda t: t, channels_last, every_second], ids=["planes", "channels_last", "sliced"])
def test_half_images_are_read_as_they_are(view):
    image, flow = view(torch.randn(1, 6, 4, 5).half()), torch.randn(1, 2, 4, 5)
    with Watch(size=image.numel()) as watch:
        warp.backward_warp(image, flow)
        warp.backward_warp_grad(torch.ones_like(image), image, flow, "border", False, False, True)
    assert not watch.copies and not {"aten::clone", "aten::_to_copy"} & set(watch.names)


@triton.jit
def _offset_kernel(out, strides, b, BLOCK: tl.constexpr):
    one = tl.arange(0, BLOCK)
    offset = tile_offset(strides, b.to(tl.int64), one, one * 50_000, one * 50_000)
    tl.store(out + one[:, None] * BLOCK + one[None, :], offset)


def test_offsets_pass_two_to_the_31():
    """b, c, y, x times strides as large as an 8K batch in channels_last has; in 32 bits each term would wrap."""
    out = torch.empty(4, 4, dtype=torch.int64)
    strides = (3 * 2**33, 2**30 + 7, 200_000, 64)
    _offset_kernel[(1,)](out, strides, 3, BLOCK=4)
    n = torch.arange(4)
    expected = 3 * strides[0] + n[:, None] * strides[1] + n * 50_000 * (strides[2] + strides[3])
    assert torch.equal(out, expected)


@triton.jit
def _exponential_kernel(x, out, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    tl.store(out + n, exponential(tl.load(x + n)))


def test_exponential_is_as_good_as_float32_allows():
    x = torch.linspace(-86, 88, 4096)
    out = torch.empty_like(x)
    _exponential_kernel[(1,)](x, out, BLOCK=4096)
    error = (out.double() - x.double().exp()).abs() / torch.from_numpy(np.spacing(x.double().exp().float().numpy()))
    assert error.max() <= 3
    x[:4] = torch.tensor([-1e30, -torch.inf, 1e30, 0.0])
    _exponential_kernel[(1,)](x, out, BLOCK=4096)
    assert out[0] == 0 and out[1] == 0 and out[2].isfinite() and out[3] == 1


@pytest.mark.nightly
def test_every_op_and_kernel_is_run_and_every_helper_used(launched, monkeypatch):
    called = set()
    native = {op for op, composed in backends.ops().items() if not composed}
    for op in native:
        module = importlib.import_module(backends._triton_modules[op])
        run = getattr(module, op)
        monkeypatch.setattr(module, op, lambda *args, op=op, run=run: (called.add(op), run(*args))[1])
    launch_each(torch.float32)
    assert not native - called, f"tests/triton_calls.py does not call {sorted(native - called)}"
    missing = kernel_names() - set(launched)
    assert not missing, f"no call of tests/triton_calls.py launches {sorted(missing)}"
    used = {n.id for f in jit_functions().values() for n in ast.walk(f) if isinstance(n, ast.Name)}
    assert not set(jit_functions()) - kernel_names() - used
