"""What holds for adacof alone."""

import pytest
import torch
from compare import assert_near
from levels import every_level, run_at_level

import vfi_kernels as vk
from vfi_kernels.ops.adacof.cases import make_inputs


def inputs(rng, shape=(2, 3, 9, 21), side=3, dilation=1, dtype=torch.float64, flow="noise"):
    return make_inputs(*shape, flow=flow, side=side, dilation=dilation, dtype=dtype, generator=rng)


def sample(image, y, x, down, right):
    """Image (C, H, W) at (y + down, x + right): each offset cut towards 0, each of the pixels clipped by itself."""
    height, width = image.shape[1:]
    total = 0
    a, b = int(down), int(right)
    for j, wy in ((a, 1 - (down - a)), (a + 1, down - a)):
        for i, wx in ((b, 1 - (right - b)), (b + 1, right - b)):
            row, column = min(max(y + j, 0), height - 1), min(max(x + i, 0), width - 1)
            total = total + wy * wx * image[:, row, column]
    return total


def by_loops(image, weights, vertical, horizontal, dilation):
    b, taps, h, w = weights.shape
    side = int(taps**0.5)
    out = torch.zeros(b, image.shape[1], h, w, dtype=image.dtype)
    for n, s, y, x in ((n, s, y, x) for n in range(taps) for s in range(b) for y in range(h) for x in range(w)):
        at = (y + dilation * (n // side), x + dilation * (n % side))
        read = sample(image[s], *at, vertical[s, n, y, x].item(), horizontal[s, n, y, x].item())
        out[s, :, y, x] += weights[s, n, y, x] * read
    return out


@pytest.mark.parametrize(("side", "dilation"), [(1, 1), (2, 1), (2, 3), (3, 2)])
def test_agrees_with_loops(backend, side, dilation, rng):
    arguments = inputs(rng, (2, 2, 4, 5), side, dilation)
    expected = by_loops(*arguments, dilation)
    torch.testing.assert_close(vk.adacof(*arguments, dilation=dilation), expected, rtol=0, atol=1e-12)


def test_a_negative_fraction_extrapolates(backend):
    """-0.5 is cut to 0: 1.5 of the pixel itself, -0.5 of the next one; -1.5 to -1."""
    image = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]).view(1, 1, 1, 5)
    right = torch.tensor([0.0, -0.5, -1.5, 0.5, -0.25]).view(1, 1, 1, 5)
    out = vk.adacof(image, torch.ones_like(right), torch.zeros_like(right), right)
    assert out.flatten().tolist() == [1.0, 1.5 * 2 - 0.5 * 4, 1.5 * 2 - 0.5 * 4, 12.0, 16.0]


def test_positive_offsets_are_a_deformable_convolution(backend, rng):
    """With one weight for all taps and channels, away from the border."""
    image, weights, vertical, horizontal = inputs(rng, (1, 3, 12, 14), 3)
    vertical, horizontal = vertical.abs().clamp(max=0.9), horizontal.abs().clamp(max=0.9)
    offsets = torch.stack([vertical, horizontal], 2).flatten(1, 2)
    ones = torch.ones(3, 1, 3, 3, dtype=torch.float64)
    expected = vk.modulated_deform_conv2d(image, offsets, weights, ones, None, groups=3)
    inner = (..., slice(0, -1), slice(0, -1))
    torch.testing.assert_close(
        vk.adacof(image, weights, vertical, horizontal)[inner], expected[inner], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("which", [2, 3])
def test_a_tap_without_a_place_adds_nothing(backend, value, which, rng):
    """Whatever its weight and what comes back; its own gradients are 0."""
    arguments = list(inputs(rng, (1, 3, 6, 20), dtype=torch.float32))
    without = [t.clone() for t in arguments]
    arguments[which][0, 4, 2:4, 5] = value
    arguments[1][0, 4, 3, 5] = torch.inf
    without[1][0, 4, 2:4, 5] = 0
    leaves = [t.requires_grad_() for t in arguments]
    out = vk.adacof(*leaves)
    torch.testing.assert_close(out, vk.adacof(*without), rtol=0, atol=1e-6)
    cotangent = torch.ones_like(out)
    cotangent[0, 0, 2, 5] = torch.inf
    for grad in torch.autograd.grad(out, leaves, cotangent)[1:]:
        assert (grad[0, 4, 2:4, 5] == 0).all()


@pytest.mark.parametrize("value", [1e30, -1e30, 2.0**31, -(2.0**31), 3e9, -3e9, 65504.0, -1e5])
def test_far_offsets_read_the_border(backend, value, rng):
    image, weights, vertical, horizontal = inputs(rng, (1, 2, 6, 20), dtype=torch.float32)
    far = [torch.full_like(vertical, value), torch.full_like(horizontal, -value)]
    edge = image[..., -1:, :1] if value > 0 else image[..., :1, -1:]
    leaves = [image, weights, *(t.requires_grad_() for t in far)]
    out = vk.adacof(*leaves)
    torch.testing.assert_close(out, weights.sum(1, keepdim=True) * edge, rtol=1e-5, atol=1e-5)
    assert all((grad == 0).all() for grad in torch.autograd.grad(out.sum(), far))


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.parametrize("size", [1e-35, 1e-20, 1.0, 1e20, 1e35])
def test_the_image_gradient_of_factors_of_any_size(backend, size, channels, rng):
    """Of large weights and small gradients, or the other way round; what is not finite reaches its pixels only."""
    image, weights, vertical, horizontal = inputs(rng, (1, channels, 6, 20), dtype=torch.float32)
    weights, cotangent = weights * size, torch.randn(1, channels, 6, 20, generator=rng) / size
    for value in (0.0, torch.inf):
        cotangent[0, channels - 1, 2, 5] = value
        (grad,), (expected,) = (
            torch.autograd.grad(vk.adacof(x, *(t.to(x.dtype) for t in (weights, vertical, horizontal))), x, g)
            for x, g in ((image.requires_grad_(), cotangent), (image.double().requires_grad_(), cotangent.double()))
        )
        assert torch.equal(grad.isfinite(), expected.isfinite())
        assert_near(grad[grad.isfinite()], expected[grad.isfinite()])


def test_an_image_of_one_pixel_or_row(backend, rng):
    for h, w in ((1, 1), (1, 9), (9, 1)):
        arguments = [t.requires_grad_() for t in inputs(rng, (1, 2, h, w), 1)]
        out = vk.adacof(*arguments)
        torch.testing.assert_close(out, by_loops(*(t.detach() for t in arguments), 1), rtol=0, atol=1e-12)
        assert all(grad.isfinite().all() for grad in torch.autograd.grad(out.sum(), arguments))


def test_a_pixel_that_is_not_finite_reaches_what_reads_it(backend, rng):
    """A corner of weight 0 is not read, at whole offsets the neighbours."""
    image, weights, vertical, horizontal = inputs(rng, (1, 2, 8, 20), 2, dtype=torch.float32, flow="zero")
    image[0, 1, 4, 7] = torch.nan
    out = vk.adacof(image, weights, vertical, horizontal)
    reached = torch.zeros(8, 20, dtype=torch.bool)
    reached[3:5, 6:8] = True
    assert torch.equal(out[0, 1].isnan(), reached) and out[0, 0].isfinite().all()


FIT = ((1, 3, 6, 7), *[(1, 4, 4, 5)] * 3)
# Which argument, a shape that it must not have, and what is said of it.
WRONG = [
    *(
        (1, shape, "weights of shape (B, F^2, H, W) with B = 1 as image has and F at least 1")
        for shape in ((1, 3, 4, 5), (1, 0, 4, 5), (2, 4, 4, 5), (4, 4, 5))
    ),
    (2, (1, 4, 5, 4), "offsets_vertical of shape (1, 4, 4, 5) as weights has"),
    (3, (1, 8, 4, 5), "offsets_horizontal of shape (1, 4, 4, 5) as weights has"),
    (0, (1, 3, 5, 6), "image of height and width (H + dilation (F - 1), W + dilation (F - 1)) = (6, 7)"),
    (0, (6, 7), "image of shape (B, C, H, W)"),
]


@pytest.mark.parametrize(("which", "shape", "expected"), WRONG)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_sizes_that_do_not_fit_get_one_sentence(backend, which, shape, expected, device):
    shapes = [shape if n == which else fitting for n, fitting in enumerate(FIT)]
    with pytest.raises(vk.ArgumentError) as caught:
        vk.adacof(*(torch.zeros(s, device=device) for s in shapes), dilation=2)
    assert str(caught.value) == f"adacof: expected {expected}, got {shape}"


@pytest.mark.parametrize(("dilation", "text"), [(0, "0"), (1.5, "1.5"), (None, "None")])
def test_a_dilation_that_is_none(dilation, text):
    with pytest.raises(vk.ArgumentError, match=rf"^adacof: expected dilation to be an integer from 1 up, got {text}$"):
        vk.adacof(*(torch.zeros(1, 1, 2, 2) for _ in range(4)), dilation=dilation)


def check_every_dtype():
    """Against the reference: offsets near and far, several bands of rows, more channels than a group has."""
    for shape, side, flow in (((1, 3, 90, 33), 3, "noise"), ((2, 5, 7, 40), 2, "point"), ((1, 3, 8, 16), 5, "zero")):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            arguments = [
                t.requires_grad_() for t in inputs(torch.Generator().manual_seed(1), shape, side, 1, dtype, flow)
            ]
            out = vk.adacof(*arguments)
            cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
            results = (out, *torch.autograd.grad(out, arguments, cotangent))
            exact = [t.detach().double().requires_grad_() for t in arguments]
            with vk.use_backend("reference"):
                expected = vk.adacof(*exact)
                expected = (expected, *torch.autograd.grad(expected, exact, cotangent.double()))
            for a, b in zip(results, expected):
                assert_near(a, b, slack=4)


@pytest.mark.slow
@every_level
def test_every_instruction_set(level):
    run_at_level(level, __file__, "check_every_dtype()")
