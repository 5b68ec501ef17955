"""The CPU kernels of backward_warp and warp_blend: every instruction set, thread count and memory layout."""

import itertools

import pytest
import torch
from compare import ROUNDING
from levels import every_level, run_at_level
from worded import WordedOps

import vfi_kernels as vk
from vfi_kernels._options import PADDING_MODES
from vfi_kernels.ops.backward_warp import reference
from vfi_kernels.ops.warp_blend import reference as blend_reference

OPS = WordedOps()
LAYOUTS = (torch.contiguous_format, torch.channels_last)
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# Image sizes around the vector widths 4, 8, 16 and the lookup window of twice as many columns; output widths too.
SIZES = tuple(itertools.product((1, 2, 40), (1, 2, 15, 33, 130), (1, 17, 130)))
EDGES = (float("nan"), float("inf"), -float("inf"), 1e30, -1e30)


def make_flow(kind: str, channels: int, height: int, width: int, rng: torch.Generator) -> torch.Tensor:
    """Flows for every path: copies, shifts, lookups in few and many rows, gathers, clipping, non-finite values."""
    flow = torch.randn(2, channels, height, width, generator=rng)
    if kind in ("zero", "shift"):
        flow = torch.full_like(flow, 0.0 if kind == "zero" else 3.0)
    elif kind == "steep":
        flow = flow * 0.1 + torch.arange(width) * 0.4
    elif kind == "wild":
        flow = flow * 30
        flow.view(-1)[::7] = torch.tensor(EDGES).repeat(flow.numel())[: flow.view(-1)[::7].numel()]
    return flow


def assert_all_near(got, expected, what):
    for a, b in zip(got, expected, strict=True):
        rounding = max(ROUNDING[a.dtype], ROUNDING[torch.float32] if a.dtype != torch.float64 else 0) * 4
        torch.testing.assert_close(a.double(), b.double(), rtol=rounding, atol=rounding * 10, equal_nan=True, msg=what)


def check_every_path(seed: int = 0) -> None:
    """The kernels of this process's CPU level against the reference in float64."""
    rng = torch.Generator().manual_seed(seed)
    kinds = itertools.cycle(("zero", "shift", "smooth", "steep", "wild"))
    choices = itertools.cycle(itertools.product((1, 3, 5, 20), DTYPES, LAYOUTS, PADDING_MODES))
    for (h, w, out_w), kind, (c, dtype, layout, padding_mode) in zip(SIZES * 9, kinds, choices, strict=False):
        image = torch.randn(2, c, h, w, generator=rng).to(dtype).contiguous(memory_format=layout)
        other = torch.randn(2, c, h, w, generator=rng).to(dtype)
        grad = torch.randn(2, c, 3, out_w, generator=rng).to(dtype)
        flow, mask = make_flow(kind, 4, 3, out_w, rng), torch.randn(2, 1, 3, out_w, generator=rng)
        wide = [t.double() for t in (grad, image, other, flow, mask)]
        what = f"{(h, w, out_w)} {kind} {c} {dtype} {layout} {padding_mode}"
        half, wide_half = flow[:, :2], wide[3][:, :2]
        got = (OPS.backward_warp(image, half, padding_mode),)
        got += OPS.backward_warp_grad(grad, image, half, padding_mode, False, True, True)
        expected = (reference.backward_warp(wide[1], wide_half, padding_mode),)
        expected += reference.backward_warp_grad(wide[0], wide[1], wide_half, padding_mode, False, True, True)
        assert_all_near(got, expected, what)
        got = (OPS.warp_blend(image, other, flow, mask),)
        got += OPS.warp_blend_grad(grad, image, other, flow, mask, False, True, True, True, True)
        expected = (blend_reference.warp_blend(*wide[1:]),)
        expected += blend_reference.warp_blend_grad(*wide, False, True, True, True, True)
        assert_all_near(got, expected, what)


@every_level
def test_every_instruction_set(level):
    run_at_level(level, __file__, "check_every_path()")


@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("channels", [3, 24])
def test_results_do_not_depend_on_the_number_of_threads(channels, layout, threads, rng):
    image = torch.randn(2, channels, 70, 190, generator=rng).contiguous(memory_format=layout)
    other, grad = image.flip(0), torch.randn(2, channels, 61, 190, generator=rng)
    flow, mask = torch.randn(2, 4, 61, 190, generator=rng) * 9, torch.randn(2, 1, 61, 190, generator=rng)

    def results():
        return [
            OPS.backward_warp(image, flow[:, :2]),
            *OPS.backward_warp_grad(grad, image, flow[:, :2], "border", False, True, True),
            OPS.warp_blend(image, other, flow, mask),
            *OPS.warp_blend_grad(grad, image, other, flow, mask, False, True, True, True, True),
        ]

    threads(1)
    expected = results()
    for count in (2, 3, 7):
        threads(count)
        for got, want in zip(results(), expected, strict=True):
            assert torch.equal(got, want)


def test_large_results_are_streamed_right(rng):
    """Results from 4 MB on bypass the cache; the last rows and columns do too."""
    image = torch.randn(1, 1, 1030, 1040, generator=rng)
    flow = torch.randn(1, 2, 1030, 1040, generator=rng) * 2
    with vk.use_backend("reference"):
        expected = vk.backward_warp(image, flow)
    torch.testing.assert_close(vk.backward_warp(image, flow), expected, rtol=1e-5, atol=1e-5)
    pixels = image.view(1, 1030 * 65, 1, 16).permute(0, 3, 1, 2)  # the same memory as 16 channels in channels_last
    flow = flow.view(1, 2, 1030 * 65, 16)[..., :1]
    with vk.use_backend("reference"):
        expected = vk.backward_warp(pixels, flow)
    torch.testing.assert_close(vk.backward_warp(pixels, flow), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
def test_half_values_survive_a_copy(dtype, layout):
    """Zero flow over every bit pattern: what is not NaN comes back bit for bit, NaN stays NaN."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    image = bits.view(dtype).view(1, 4, 128, 128).contiguous(memory_format=layout)
    out = vk.backward_warp(image, torch.zeros(1, 2, 128, 128))
    nan = image.isnan()
    assert torch.equal(out.isnan(), nan)
    assert torch.equal(out.view(torch.int16)[~nan], image.view(torch.int16)[~nan])
