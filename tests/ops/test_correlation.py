"""What holds for the local correlation alone."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from compare import assert_near
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from levels import every_level, run_at_level

import vfi_kernels as vk
from vfi_kernels.ops.correlation import reference

OPS = torch.ops.vfi_kernels
ONES, NONE = (1, 1), (0, 0)
REST = (*ONES, *ONES, *NONE, *ONES, *ONES, True, 0)  # of the options after the radius, as they are in the schema


def meetings(first, radius):
    """For every displacement of up to `radius` pixels, the pixels that keep inside, and where they are then."""
    h, w = first.shape[2:]
    for dy, dx in itertools.product(range(-radius, radius + 1), repeat=2):
        (top, bottom), (left, right) = ((min(max(0, -d), n), max(min(n, n - d), 0)) for d, n in ((dy, h), (dx, w)))
        empty = top >= bottom or left >= right
        at = (slice(top, bottom), slice(left, right)) if not empty else (slice(0), slice(0))
        to = (slice(top + dy, bottom + dy), slice(left + dx, right + dx)) if not empty else at
        yield (..., *at), (..., *to)


def by_unfold(first, second, radius):
    """The definition out of F.unfold, whose windows are padded with zeros."""
    b, c, h, w = first.shape
    windows = F.unfold(second, 2 * radius + 1, padding=radius).view(b, c, -1, h, w)
    return (first[:, :, None] * windows).mean(1)


def test_radius_1_by_hand(backend):
    first = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    second = torch.tensor([[10.0, 20.0], [30.0, 40.0]]).view(1, 1, 2, 2)
    out = vk.correlation(torch.cat([first, first], 1), torch.cat([second, 3 * second], 1), radius=1)
    expected = [
        [[0, 0], [0, 80]], [[0, 0], [60, 160]], [[0, 0], [120, 0]],
        [[0, 40], [0, 240]], [[20, 80], [180, 320]], [[40, 0], [240, 0]],
        [[0, 120], [0, 0]], [[60, 160], [0, 0]], [[80, 0], [0, 0]],
    ]  # fmt: skip
    assert torch.equal(out, torch.tensor(expected, dtype=torch.float32)[None])


@pytest.mark.parametrize("radius", range(1, 10))
def test_agrees_with_unfold_in_float64(backend, radius, rng):
    first, second = (torch.randn(2, 3, 18, 37, generator=rng, dtype=torch.float64).requires_grad_() for _ in range(2))
    got, expected = vk.correlation(first, second, radius), by_unfold(first, second, radius)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    cotangent = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    grads = torch.autograd.grad(got, (first, second), cotangent)
    for a, b in zip(grads, torch.autograd.grad(expected, (first, second), cotangent)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("radius", "padding"), [(4, 0), (3, 4), ((2, 9), 0), ((11, 0), 1)])
def test_rows_that_are_copied_by_packs(backend, dtype, radius, padding, rng):
    """Widths of a multiple of eight, several tiles and parts of channels; any radius and padding."""
    options = {"radius": radius, "padding": padding, "normalize": False}
    first, second = ((torch.randn(1, 70, 10, 40, generator=rng) / 4).to(dtype) for _ in range(2))
    leaves = [t.clone().requires_grad_() for t in (first, second)]
    wide = [t.double().requires_grad_() for t in (first, second)]
    got = vk.correlation(*leaves, **options)
    with vk.use_backend("reference"):
        expected = vk.correlation(*wide, **options)
    assert_near(got, expected)
    cotangent = torch.randn(got.shape, generator=rng).to(dtype)
    found = torch.autograd.grad(got, leaves, cotangent)
    for a, b in zip(found, torch.autograd.grad(expected, wide, cotangent.double())):
        assert_near(a, b, slack=4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("width", [37, 48])
def test_a_gradient_that_is_not_finite_reaches_what_meets_it_and_nothing_else(backend, dtype, value, width):
    first, second = torch.ones(1, 3, 11, width, dtype=dtype), torch.ones(1, 3, 11, width, dtype=dtype)
    leaf = first.clone().requires_grad_()
    (clean,) = torch.autograd.grad(vk.correlation(leaf, second, 2).sum(), leaf)
    second[0, 1, 4, 18] = value
    (found,) = torch.autograd.grad(vk.correlation(leaf, second, 2).sum(), leaf)
    reached = torch.zeros_like(clean, dtype=torch.bool)
    reached[0, 1, 2:7, 16:21] = True
    assert not found[reached].isfinite().any()
    torch.testing.assert_close(found[~reached], clean[~reached])


def test_radius_4_is_the_default(backend, rng):
    first, second = torch.randn(2, 1, 3, 6, 11, generator=rng)
    assert torch.equal(vk.correlation(first, second), vk.correlation(first, second, 4))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 12), st.integers(1, 40), st.integers(0, 1000))
def test_exchanging_the_maps_mirrors_the_displacements(backend, radius, c, h, w, seed):
    """correlation(a, b)[d] at p is correlation(b, a)[-d] at p + d; torch adds the reference's channels in any order."""
    rounding = 1e-6 if backend == "reference" else 0
    first, second = torch.randn(2, 1, c, h, w, generator=torch.Generator().manual_seed(seed))
    there, back = vk.correlation(first, second, radius)[0], vk.correlation(second, first, radius)[0]
    n = 2 * radius + 1
    for d, (at, to) in enumerate(meetings(first, radius)):
        torch.testing.assert_close(there[d][at], back[n * n - 1 - d][to], rtol=0, atol=rounding)
        outside = torch.ones(h, w, dtype=torch.bool)
        outside[at] = False
        assert (there[d][outside] == 0).all()


@pytest.mark.parametrize("width", [3, 7, 16, 40])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_outside_is_exactly_zero(backend, width, value):
    """Whatever stands at the border of the maps, and of the gradient that comes back."""
    first, second = torch.ones(1, 2, 5, width), torch.ones(1, 2, 5, width)
    for t in (first, second):
        t[..., 0] = t[..., -1] = t[..., 0, :] = t[..., -1, :] = value
    first.requires_grad_(), second.requires_grad_()
    out = vk.correlation(first, second, 2)
    with torch.no_grad():
        expected = vk.correlation(torch.ones_like(first), torch.ones_like(second), 2)
        assert (out[expected == 0] == 0).all()
        inner = first.isfinite().all(1)[0]
        assert torch.equal(out[0, 12][inner], expected[0, 12][inner]) and not out[0, 12][~inner].isfinite().any()
    # A cotangent that is not a number where nothing was read leaves no trace.
    ones = torch.ones(1, 2, 5, width, requires_grad=True), torch.ones(1, 2, 5, width, requires_grad=True)
    out = vk.correlation(*ones, 2)
    clean = torch.autograd.grad(out, ones, (out != 0).float(), retain_graph=True)
    for a, b in zip(torch.autograd.grad(out, ones, torch.where(out != 0, 1, value)), clean):
        assert torch.equal(a, b)


def test_a_nan_reaches_what_meets_it_and_nothing_else(backend):
    first, second = torch.ones(1, 3, 9, 37), torch.ones(1, 3, 9, 37)
    second[0, 1, 4, 18] = torch.nan
    out = vk.correlation(first, second, 2)
    for d in range(25):
        places = out[0, d].isnan().nonzero().tolist()
        assert places == [[4 - (d // 5 - 2), 18 - (d % 5 - 2)]]


def test_no_channels_give_zeros(backend):
    empty = torch.zeros(2, 0, 3, 4, requires_grad=True)
    out = vk.correlation(empty, empty.detach(), 1)
    assert out.shape == (2, 9, 3, 4) and (out == 0).all()
    assert torch.autograd.grad(out.sum(), empty)[0].shape == (2, 0, 3, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_sums_are_float32_and_rounded_once(backend, dtype, rng):
    """4096 small terms after a large one would all be lost in half precision."""
    first = torch.full((1, 4097, 2, 3), 2.0**-6).to(dtype)
    first[:, 0] = 32
    out = vk.correlation(first, torch.ones_like(first), 1)
    exact = (32 + 4096 * 2.0**-6) / 4097
    assert (out[0, 4] == torch.tensor(exact, dtype=torch.float64).to(dtype)).all()


@pytest.mark.parametrize(("first", "second", "radius", "sentence"), [
    ((2, 3, 7), (2, 3, 7), 4, r"correlation: expected first of shape \(B, C, H, W\), got \(2, 3, 7\)"),
    ((2, 3, 7, 9), (2, 3, 7, 8), 4,
     r"correlation: expected second of shape \(2, 3, 7, 9\) as first has, got \(2, 3, 7, 8\)"),
    ((2, 3, 7, 9), (2, 3, 7, 9), 2**15, "correlation: expected radius from 0 to 32767, one integer or two, got 32768"),
    ((2, 3, 7, 9), (2, 3, 7, 9), -1, "correlation: expected radius from 0 to 32767, one integer or two, got -1"),
])  # fmt: skip
def test_wrong_arguments_get_one_sentence(backend, first, second, radius, sentence):
    with pytest.raises(RuntimeError, match=sentence):
        vk.correlation(torch.zeros(first), torch.zeros(second), radius)
    with pytest.raises(RuntimeError, match=sentence):
        vk.correlation(torch.zeros(first, device="meta"), torch.zeros(second, device="meta"), radius)


def test_wrong_dtypes_get_one_sentence(backend):
    image = torch.zeros(1, 2, 3, 4)
    with pytest.raises(RuntimeError, match="correlation: expected second of dtype float32 as first has, got float16"):
        vk.correlation(image, image.half())
    sentence = "correlation: expected first of dtype float64, float32, float16 or bfloat16, got int64"
    with pytest.raises(RuntimeError, match=sentence):
        vk.correlation(image.long(), image.long())


def test_arguments_of_the_wrong_kind_get_one_sentence():
    image = torch.zeros(1, 2, 3, 4)
    for arguments, sentence in (
        ((image.numpy(), image), "expected first to be a tensor, got ndarray"),
        ((image, None), "expected second to be a tensor, got NoneType"),
        ((image, image, 4.0), "expected radius from 0 to 32767, one integer or two, got 4.0"),
        ((image, image, None), "expected radius from 0 to 32767, one integer or two, got None"),
    ):
        with pytest.raises(RuntimeError) as caught:
            vk.correlation(*arguments)
        assert str(caught.value) == f"correlation: {sentence}"
    assert torch.equal(vk.correlation(image, image, np.int64(2)), vk.correlation(image, image, 2))


def test_a_gradient_of_the_wrong_shape_is_refused():
    image = torch.zeros(1, 2, 3, 4)
    sentence = r"correlation_grad: expected grad_out of shape \(1, 9, 3, 4\), got \(1, 8, 3, 4\)"
    with pytest.raises(RuntimeError, match=sentence):
        OPS.correlation_grad(torch.zeros(1, 8, 3, 4), image, image, *packed(*ONES, *REST), True, True)


def packed(*options):
    """The sides, normalize, cost."""
    return options[:12], *options[12:]


CALLS = (  # shape, and the options in the order of the schema
    ((1, 5, 18, 67), 4, 4, *REST),
    ((2, 4, 5, 21), 9, 9, *REST),
    ((1, 9, 17, 8), 1, 1, *REST),
    ((1, 3, 20, 1), 6, 6, *REST),
    ((1, 3, 9, 40), 1, 3, 3, 2, 2, 1, 2, 3, 1, 2, 2, 3, True, 0),
    ((2, 2, 8, 37), 2, 0, *ONES, 3, 2, 1, 4, *ONES, 1, 2, False, 0),
    ((1, 3, 19, 35), 2, 2, 3, 3, *ONES, *ONES, *ONES, *ONES, True, 1),
    ((1, 4, 7, 21), 1, 2, 1, 2, 1, 3, 2, 0, *ONES, 3, 2, False, 1),
    ((1, 40, 18, 67), 4, 4, *REST),  # enough channels for tiles of half precision
    ((2, 33, 9, 20), 2, 9, *ONES, 3, 2, 1, 1, 2, *ONES, 1, True, 0),
)


def check_every_dtype(seed):
    """Forward and gradients of the C++ kernels against the reference, on odd sizes."""
    generator = torch.Generator().manual_seed(seed)
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        for shape, *listed in CALLS:
            options = packed(*listed)
            first, second = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
            got = OPS.correlation(first, second, *options)
            grad_out = torch.randn(got.shape, generator=generator).to(dtype)
            wide, words = [t.double() for t in (grad_out, first, second)], (*options[:-1], ("dot", "l1")[options[-1]])
            assert_near(got, reference.correlation(*wide[1:], *words))
            got = OPS.correlation_grad(grad_out, first, second, *options, True, True)
            for a, b in zip(got, reference.correlation_grad(*wide, *words, True, True)):
                assert_near(a, b, slack=4)


def check_large_results(seed):
    """What is written past the cache, by whole lines, against what cannot be, as it does not begin with one."""
    generator = torch.Generator().manual_seed(seed)
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        for channels, rows, radius in ((3, 165, 4), (40, 165, 4), (2, 45, 9), (1, 20, 14)):
            first, second = (torch.randn(1, channels, rows, 160, generator=generator).to(dtype) for _ in range(2))
            for options in ({}, {"patch_dilation": 2}, {"cost": "l1"}):
                lines = vk.correlation(first, second, radius, **options)
                assert lines.data_ptr() % 64 == 0 and lines.nbytes >= 4 << 20
                room = torch.empty(lines.numel() + 1, dtype=dtype)
                out = room[1:].view(lines.shape)
                assert torch.equal(vk.correlation(first, second, radius, **options, out=out), lines)


def check_gradients_of_many_channels(seed):
    """Of half precision on tiles, most of which is zero: infinity and NaN stay with the pixels that they meet."""
    generator = torch.Generator().manual_seed(seed)
    for dtype in (torch.float16, torch.bfloat16):
        for shape, radius in (((1, 300, 3, 20), 2), ((2, 40, 9, 36), 6), ((1, 17, 1, 1), 1)):
            for special in (None, math.inf, math.nan):
                first, second = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
                if special is not None:
                    second[0, 3, -1, 0] = first[-1, 0, 0, -1] = special
                options = packed(radius, radius, *REST)
                grad_out = torch.randn((shape[0], (2 * radius + 1) ** 2, *shape[2:]), generator=generator).to(dtype)
                got = OPS.correlation_grad(grad_out, first, second, *options, True, True)
                wide = [t.double() for t in (grad_out, first, second)]
                for a, b in zip(got, reference.correlation_grad(*wide, *options[:-1], "dot", True, True)):
                    assert torch.equal(a.isfinite(), b.isfinite()) and torch.equal(a.isnan(), b.isnan())
                    assert_near(a[b.isfinite()], b[b.isfinite()], slack=4)


@every_level
@pytest.mark.parametrize("check", ["check_every_dtype", "check_large_results", "check_gradients_of_many_channels"])
def test_every_instruction_set(level, check):
    run_at_level(level, __file__, f"{check}(5)")


def test_autocast_casts_as_conv2d_does(rng):
    first, second = (torch.randn(1, 4, 6, 7, generator=rng) for _ in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = vk.correlation(first, second, 2)
        assert vk.correlation(first.double(), second.double(), 2).dtype == torch.float64
    assert torch.equal(out, vk.correlation(first.bfloat16(), second.bfloat16(), 2))
