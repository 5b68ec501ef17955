"""The Triton kernels of modulated_deform_conv2d in Triton's interpreter, against the float64 oracle."""

import functools
import types

import pytest
import torch
from compare import assert_near, forward, oracle_forward
from triton_interpreter import (  # noqa: F401
    Watch,
    channels_last,
    check_all,
    every_second,
    launched_kernels,
    pytestmark,
    quick_interpreter,
    usual_path,
)

import vfi_kernels as vk
from vfi_kernels.ops.modulated_deform_conv2d import triton_kernels as deforming
from vfi_kernels.testing import make_flow


def deform(c, c_out, size, groups=1, offset_groups=1, kernel=1, dtype=torch.float32, batch=1, **options):
    """A case of modulated_deform_conv2d of that geometry, and its arguments."""
    call = functools.partial(vk.modulated_deform_conv2d, **options)
    rng, taps = torch.Generator().manual_seed(5), kernel * kernel
    x = torch.randn(batch, c, *size, generator=rng)
    weight = torch.randn(c_out, c // groups, kernel, kernel, generator=rng) / (c // groups * taps) ** 0.5
    whole = torch.nn.functional.conv2d(x, weight, groups=groups, **options)
    moves = make_flow("noise", batch * taps * offset_groups, *whole.shape[2:], dtype=torch.float64, generator=rng)
    offset = (moves * 2 / 3).reshape(batch, -1, *whole.shape[2:])
    mask = torch.rand(batch, taps * offset_groups, *whole.shape[2:], generator=rng)
    bias = torch.randn(c_out, generator=rng)
    case = types.SimpleNamespace(op="modulated_deform_conv2d", call=call, slack=1.0)
    return case, tuple(t.to(dtype) for t in (x, offset, mask, weight, bias))


@pytest.mark.parametrize(
    "c, c_out, size, options",
    [
        (40, 36, (5, 15), {}),  # more channels and pixels than a program has at a time
        (12, 8, (3, 4), {"groups": 2, "offset_groups": 3, "kernel": 2, "stride": (1, 2), "padding": (1, 0)}),
        (4, 2, (4, 3), {"offset_groups": 2, "kernel": 2, "dilation": 2, "batch": 2}),
    ],
    ids=["wide", "parts", "batch"],
)
def test_deform_geometry_and_strides(c, c_out, size, options):
    geometry = {n: options.pop(n) for n in ("groups", "offset_groups", "kernel", "batch") if n in options}
    case, (x, offset, mask, weight, bias) = deform(c, c_out, size, **geometry, **options)
    check_all(case, (*map(every_second, (x, offset, mask)), weight, bias))
    if "batch" in geometry:  # float64 sums for the sake of the offset; a half weight in another layout
        check_all(case, (channels_last(x.half()), offset.double(), mask, channels_last(weight.half()), bias.half()))


def test_deform_positions_that_are_no_number_or_far_away():
    """They read nothing, whatever the mask; at -1 and beside an infinite pixel, corners of weight 0 are not read."""
    case, (x, offset, mask, weight, bias) = deform(3, 2, (2, 7))
    values = torch.tensor((torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 3e9, -1e-30))
    offset[:, 0, 0] = offset[:, 1, 1] = values
    mask[:, 0, 0, :6] = torch.nan
    check_all(case, (x, offset, mask, weight, bias))
    x, offset = torch.randn(1, 3, 2, 7), torch.zeros(1, 2, 2, 7)
    x[0, 0, 0, 2], offset[0, 0] = torch.inf, torch.tensor([[-1.0], [0.0]])
    for edge in ("torchvision", "mmcv"):
        with vk.use_backend("triton"):
            result = forward(functools.partial(case.call, edge=edge), (x, offset, None, weight, bias))[0]
            arguments = (torch.ones_like(result), x.nan_to_num(posinf=2), offset, None, weight, [1, 1], [0, 0], [1, 1])
            needed = (False, True, False, False, False)
            slopes = deforming.modulated_deform_conv2d_grad(*arguments, 1, 1, edge, False, False, *needed)[1]
        assert result.isfinite().all()
        assert (slopes[0, :, 0] == 0).all() == (edge == "mmcv")


@pytest.mark.parametrize("activation", ["relu", "prelu"])
def test_deform_activation(activation):
    case, (x, offset, _, weight, bias) = deform(5, 18, (3, 7), dtype=torch.float16)
    for slopes in (torch.randn(18).half(), torch.tensor([0.25]).half()) if activation == "prelu" else (None,):
        call = functools.partial(case.call, activation=activation, activation_weight=slopes)
        with vk.use_backend("triton"), Watch(size=x.numel()) as watch:
            result = call(x, offset, None, weight, bias)
        wide = functools.partial(call, activation_weight=None if slopes is None else slopes.double())
        assert_near(result, oracle_forward(wide, (x, offset, None, weight, bias))[0])
        assert not watch.copies  # the image is read as it is


@pytest.mark.nightly
def test_deform_deterministic_path(launched, monkeypatch):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    check_all(*deform(6, 4, (3, 4), groups=2, offset_groups=3, kernel=2, batch=2, padding=1))
    assert "_deform_ordered_kernel" in launched


def test_deform_deterministic_sums_follow_the_order_of_taps_and_pixels():
    """Everything is read from one pixel: float32 rounding tells in which order its gradient was added."""
    values = torch.tensor([1e8, 1.0, -1e8, 3.0, 1e-3, 7.0]).view(1, 1, 2, 3)
    ys, xs = torch.meshgrid(torch.arange(2.0), torch.arange(3.0), indexing="ij")
    offset = torch.stack([0 - ys, 1 - xs])[None]
    arguments = (values, torch.ones(1, 1, 2, 3), offset, None, torch.ones(1, 1, 1, 1), [1, 1], [0, 0], [1, 1], 1, 1)
    needed = (True, False, False, False, False)
    grad, *_ = deforming.modulated_deform_conv2d_grad(*arguments, "torchvision", False, True, *needed)
    expected = torch.zeros(())
    for value in values.flatten():
        expected = expected + value
    assert grad[0, 0, 0, 1] == expected and grad.count_nonzero() == 1


def test_deform_of_nothing_is_the_bias(launched):
    """No channels, or no pixels but those of the padding."""
    weight, bias, offset = torch.randn(2, 0, 1, 1), torch.tensor([1.0, -2.0]), torch.zeros(1, 2, 2, 2)
    with vk.use_backend("triton"):
        assert (
            vk.modulated_deform_conv2d(torch.zeros(1, 0, 2, 2), offset, None, weight, bias) == bias.view(2, 1, 1)
        ).all()
        x, weight = torch.zeros(1, 3, 0, 0), torch.randn(2, 3, 1, 1)
        mask = torch.full((1, 1, 2, 2), torch.nan)
        assert (vk.modulated_deform_conv2d(x, offset, mask, weight, bias, padding=1) == bias.view(2, 1, 1)).all()
