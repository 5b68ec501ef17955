"""The CUDA kernels of the deformable convolution, emulated on the CPU: the ways that no test of the op takes."""

import contextlib
import dataclasses
import functools

import pytest
import torch
from compare import assert_near, forward, gradients, make_cotangents
from emulation import emulated_cuda, in_a_way
from every_op import channels_last, check_all
from op_calls import CASES, make

import vfi_kernels as vk
from vfi_kernels.testing import map_tensors

SEEDS = (0, 1, 7)


@pytest.fixture(params=["atomic", pytest.param("deterministic", marks=pytest.mark.slow)])
def backend(request, monkeypatch):
    yield from in_a_way(request, monkeypatch)


@pytest.mark.parametrize("channels", [16, 32], ids="C={}".format)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("name", ["modulated_deform_conv2d-4", "modulated_deform_conv2d-groups"])
def test_channels_of_an_offset_group_in_packs(name, channels, dtype, backend):
    """Four offset groups: channels_last is read in packs of 4 (16 bytes of float32) and 8 (of float16) channels."""
    check_all(CASES[name], map_tensors(channels_last, make(CASES[name], (1, channels, 3, 23), dtype)))


def deform_arguments(dtype, kernel=1):
    """Groups of 75 and 140 channels, offset groups of 50: every piece ends at another place."""
    rng = torch.Generator().manual_seed(5)
    shapes = ((1, 150, 3, 5), (1, 6 * kernel**2, 3, 5), (1, 3 * kernel**2, 3, 5), (280, 75, kernel, kernel))
    x, offset, mask, weight = (torch.randn(s, generator=rng, dtype=torch.float64) for s in shapes)
    return tuple(t.to(dtype) for t in (x, offset.mul(8).floor().add(0.5) / 8, mask, weight / 8 / kernel))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_groups_wider_than_a_block(dtype, last, backend):
    layout = torch.channels_last if last else torch.contiguous_format
    case = CASES["modulated_deform_conv2d-4"]
    check_all(
        dataclasses.replace(case, call=vk.modulated_deform_conv2d),
        map_tensors(lambda t: t.contiguous(memory_format=layout), deform_arguments(dtype)),
    )


# Channels, output channels, groups, offset groups, side of the kernel: channels in packs that end a piece of 32 or
# of 64 early, or cross from one offset group to the next inside; more output channels than a block has.
CUTS = [(24, 8, 1, 1, 3), (80, 40, 1, 2, 1), (96, 144, 2, 4, 1), (80, 16, 2, 5, 1), (64, 12, 1, 8, 3)]


def cut_arguments(cut, dtype, layout, weight_layout):
    channels, channels_out, groups, offset_groups, kernel = cut
    rng = torch.Generator().manual_seed(5)
    taps = offset_groups * kernel**2
    filters = (channels_out, channels // groups, kernel, kernel)
    shapes = ((2, channels, 3, 22), (2, 2 * taps, 3, 22), (2, taps, 3, 22), filters)
    x, offset, mask, weight = (torch.randn(s, generator=rng, dtype=torch.float64) for s in shapes)
    offset, weight = offset.mul(8).floor().add(0.5) / 8, weight / (channels // groups * kernel**2) ** 0.5
    laid_out = [t.to(dtype).contiguous(memory_format=layout) for t in (x, offset, mask)]
    return (*laid_out, weight.to(dtype).contiguous(memory_format=weight_layout))


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("weight_layout", [torch.contiguous_format, torch.channels_last], ids=["packed", "in place"])
def test_channels_that_a_warp_samples(cut, dtype, layout, weight_layout, backend):
    call = functools.partial(vk.modulated_deform_conv2d, padding=cut[4] // 2)
    case = dataclasses.replace(CASES["modulated_deform_conv2d-4"], call=call)
    check_all(case, cut_arguments(cut, dtype, layout, weight_layout))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("channels", [16, 5])
def test_what_is_not_finite_is_read_where_it_has_a_weight(channels, dtype, backend):
    """Infinities and NaN in the middle and on the borders, under points on pixels, between them, and so near to a pixel
    that a half weight would be 0; offsets that are not finite themselves."""
    rng = torch.Generator().manual_seed(7)
    h, w = 6, 9
    x = torch.randn(1, channels, h, w, generator=rng)
    for place, value in (((0, 0), torch.inf), ((2, 3), -torch.inf), ((h - 1, w - 1), torch.inf), ((3, 7), torch.nan)):
        x[(0, slice(None), *place)] = value
    moves = [-2.0, -1.0, 0.0, 1.0, 0.5, -0.5, 2**-14, -(2**-14), 1 - 2**-11, torch.inf, -torch.inf, torch.nan]
    offset = torch.tensor(moves)[torch.randint(len(moves), (1, 2, h, w), generator=rng)]
    weight = torch.eye(channels)[:, :, None, None]
    arguments = [t.to(dtype) for t in (x, offset, torch.full((1, 1, h, w), 0.75), weight)]
    for c in range(channels):  # alone: a product with the zeros of the others is NaN
        x, offset, mask, weight = arguments
        kept = torch.where(torch.arange(channels)[:, None, None] == c, x, 0)
        out = vk.modulated_deform_conv2d(kept, offset, mask, weight)[:, c]
        with vk.use_backend("reference"):
            expected = vk.modulated_deform_conv2d(*(t.double() for t in (kept, offset, mask, weight)))[:, c]
        assert_near(out, expected)
    assert out.isnan().any() and out.isinf().any() and out.isfinite().any()


@pytest.mark.parametrize("channels", [16, 5])
@pytest.mark.parametrize("factor", [1, 1.9375])
@pytest.mark.parametrize("mask_dtype", [torch.float16, torch.float32], ids=str)
def test_columns_of_the_largest_half_numbers(channels, factor, mask_dtype, backend):
    """Between equal pixels, with a mask up to 2, neither the output nor the gradient of the weight becomes infinite."""
    rng = torch.Generator().manual_seed(7)
    signs = torch.randint(2, (1, channels, 1, 1), generator=rng) * 2 - 1
    x = torch.full((1, channels, 5, 7), 65504.0).half() * signs
    offset = (torch.rand(1, 18, 5, 7, generator=rng) / 2).half()
    mask = torch.full((1, 9, 5, 7), factor, dtype=mask_dtype)
    weight = (torch.randn(4, channels, 3, 3, generator=rng) / 256).half()
    upstream = torch.full((1, 4, 5, 7), 2**-10).half()
    results = []
    for backend, dtype in ((None, torch.float16), ("reference", torch.float64)):
        with contextlib.nullcontext() if backend is None else vk.use_backend(backend):
            w = weight.to(dtype).requires_grad_()
            moves = (t.to(dtype) if dtype == torch.float64 else t for t in (offset, mask))
            out = vk.modulated_deform_conv2d(x.to(dtype), *moves, w, padding=1)
            results.append((out.detach(), *torch.autograd.grad(out, w, upstream.to(dtype))))
    assert all(t.isfinite().all() for t in results[0])
    for got, expected in zip(*results):
        assert_near(got, expected, slack=4)


def test_products_in_tf32(backend):
    """Factors lose 13 bits, sums do not."""
    results = {}
    for precision in ("highest", "high"):
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        try:
            leaves = [t.requires_grad_() for t in deform_arguments(torch.float32, kernel=3)]
            out = vk.modulated_deform_conv2d(*leaves, padding=1)
            results[precision] = [out, *torch.autograd.grad(out.sum(), leaves)]
        finally:
            torch.set_float32_matmul_precision(before)
    for exact, rounded in zip(results["highest"], results["high"]):
        error = (rounded - exact).norm() / exact.norm()
        assert 0 < error < 2**-10
        torch.testing.assert_close(rounded, exact, rtol=0, atol=2**-10 * exact.abs().max().item())


def test_only_the_gradient_of_the_input_depends_on_the_thread_order(monkeypatch):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    case, results = CASES["modulated_deform_conv2d-4"], []
    for seed in SEEDS:
        with emulated_cuda(seed):
            arguments = make(case, (2, 6, 9, 17), flow="point")
            grads = gradients(case.call, arguments, make_cotangents(case.call, arguments))
            results.append(forward(case.call, arguments) + grads)
    assert not all(torch.equal(results[0][1], other[1]) for other in results[1:])
    for other in results[1:]:
        for n in (0, 2, 3, 4):
            assert torch.equal(results[0][n], other[n])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
def test_no_gradient_depends_on_the_thread_order_where_asked(dtype, monkeypatch):
    """Taps that meet at few pixels, with an infinity, a NaN and numbers of different size among what they add."""
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    rng, results = torch.Generator().manual_seed(5), []
    shapes = ((1, 24, 5, 7), (1, 54, 5, 7), (1, 27, 5, 7), (8, 24, 3, 3))
    x, offset, mask, weight = (torch.randn(s, generator=rng, dtype=torch.float64).to(dtype) for s in shapes)
    mask[0, :9] *= 2**-12
    mask[0, 9, 1, 2], mask[0, 18, 2, 2] = torch.inf, torch.nan
    for seed in SEEDS:
        with emulated_cuda(seed):
            leaves = [t.clone().requires_grad_() for t in (x, offset, mask, weight)]
            results.append(torch.autograd.grad(vk.modulated_deform_conv2d(*leaves, padding=1).sum(), leaves))
    for other in results[1:]:
        for a, b in zip(results[0], other):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    with vk.use_backend("reference"):
        leaves = [t.double().requires_grad_() for t in (x, offset, mask, weight)]
        expected = torch.autograd.grad(vk.modulated_deform_conv2d(*leaves, padding=1).sum(), leaves)
    assert torch.equal(results[0][0].isfinite(), expected[0].isfinite()) and not expected[0].isfinite().all()
    finite = torch.where(expected[0].isfinite(), expected[0], 0)
    assert_near(results[0][0].nan_to_num(0, 0, 0), finite, slack=4)
    small = slice(0, 8)  # channels of the first offset group alone
    assert_near(results[0][0][:, small] * 2**12, expected[0][:, small] * 2**12, slack=4)


@pytest.mark.parametrize(
    "arguments",
    [
        deform_arguments(torch.float16),
        cut_arguments(CUTS[1], torch.float16, torch.channels_last, torch.contiguous_format),
    ],
    ids=["any channels", "packs"],
)
def test_a_mask_that_is_no_half_number(arguments, backend):
    """A float32 mask of a half image may be larger."""
    x, offset, mask, weight = arguments
    x, mask = x * 2**-9, mask.float() * 2**18
    out = vk.modulated_deform_conv2d(x, offset, mask, weight)
    with vk.use_backend("reference"):
        expected = vk.modulated_deform_conv2d(*(t.double() for t in (x, offset, mask, weight)))
    assert out.isfinite().all()
    assert_near(out, expected)


@pytest.mark.parametrize("shape", [(130, 8, 2, 3), (520, 8, 1, 2)], ids=str)
def test_blocks_with_several_taps(shape, backend):
    """So many tiles that few blocks share the taps, or none: weights arrive while the tap before is added."""
    case = CASES["modulated_deform_conv2d-4"]
    check_all(case, map_tensors(channels_last, make(case, shape, torch.float32)))


@pytest.mark.parametrize("size", [-60, 60, 121], ids="2^{}".format)
def test_integers_follow_the_size_of_what_is_added(size, monkeypatch):
    """The largest may not be finite, as far as bounds say."""
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    rng = torch.Generator().manual_seed(5)
    shapes = ((1, 8, 5, 7), (1, 18, 5, 7), (1, 9, 5, 7), (8, 8, 3, 3), (1, 8, 5, 7))
    *inputs, up = (torch.randn(s, generator=rng, dtype=torch.float32).clamp(-1, 1) for s in shapes)
    with emulated_cuda():
        leaves = [t.clone().requires_grad_() for t in inputs]
        got = torch.autograd.grad(vk.modulated_deform_conv2d(*leaves, padding=1), leaves[0], 2.0**size * up)[0]
    with vk.use_backend("reference"):
        leaves = [t.double().requires_grad_() for t in inputs]
        expected = torch.autograd.grad(vk.modulated_deform_conv2d(*leaves, padding=1), leaves[0], up.double())[0]
    assert_near(got.double() / 2.0**size, expected, slack=4, dtype=torch.float32)
