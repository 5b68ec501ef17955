"""What holds for separable adaptive convolution alone."""

import pytest
import torch
import torch.nn.functional as F
from compare import assert_near
from levels import every_level, run_at_level

import vfi_kernels as vk
from vfi_kernels.ops.sepconv.cases import make_inputs


def by_unfold(image, vertical, horizontal):
    """The definition out of F.unfold and the full kernels."""
    b, c = image.shape[:2]
    taps_v, taps_h = vertical.shape[1], horizontal.shape[1]
    windows = F.unfold(image, (taps_v, taps_h)).view(b, c, taps_v, taps_h, *vertical.shape[2:])
    return (windows * (vertical[:, :, None] * horizontal[:, None])[:, None]).sum((2, 3))


def inputs(rng, taps, shape=(2, 3, 9, 21), dtype=torch.float64):
    return make_inputs(*shape, taps=taps, dtype=dtype, generator=rng)


def test_by_hand(backend):
    image = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]).view(1, 1, 2, 3)
    vertical, horizontal = torch.tensor([[2.0, 0.0], [3.0, 1.0]]), torch.tensor([[1.0, 5.0], [-1.0, 0.5]])
    out = vk.sepconv(image, vertical.view(1, 2, 1, 2), horizontal.view(1, 2, 1, 2))
    assert out.flatten().tolist() == [2 * (1 - 2) + 3 * (8 - 16), 5 * 16 + 0.5 * 32]


@pytest.mark.parametrize("taps", [(1, 1), (1, 6), (5, 1), (2, 3), (9, 4), (13, 13)], ids=str)
@pytest.mark.parametrize(("channels", "width"), [(1, 18), (2, 20), (4, 18), (7, 20)])
def test_agrees_with_unfold(backend, taps, channels, width, rng):
    """Blocks of rows that are shorter and longer than a column of weights, groups of channels of every size, widths
    that fours of pixels fill and that they do not."""
    arguments = [t.requires_grad_() for t in inputs(rng, taps, (1, channels, 10, width))]
    got, expected = vk.sepconv(*arguments), by_unfold(*arguments)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    cotangent = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    gradients = torch.autograd.grad(got, arguments, cotangent)
    for a, b in zip(gradients, torch.autograd.grad(expected, arguments, cotangent)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_51_taps(rng):
    arguments = [t.requires_grad_() for t in inputs(rng, (51, 51), (1, 3, 30, 40), torch.float32)]
    exact = [t.detach().double().requires_grad_() for t in arguments]
    got, expected = vk.sepconv(*arguments), by_unfold(*exact)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-4)
    gradients = torch.autograd.grad(got.square().sum(), arguments)
    for a, b in zip(gradients, torch.autograd.grad(expected.square().sum(), exact)):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4 * b.abs().max().item())


def test_a_delta_is_a_shift(backend, rng):
    """Bit for bit: the other products are 0."""
    image, vertical, horizontal = inputs(rng, (5, 7), dtype=torch.float32)
    for i, j in ((0, 0), (4, 6), (2, 3)):
        column, row = torch.zeros_like(vertical), torch.zeros_like(horizontal)
        column[:, i], row[:, j] = 1, 1
        assert torch.equal(vk.sepconv(image, column, row), image[..., i : i + 9, j : j + 21])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_in_its_window(backend, value, rng):
    """Forward: a pixel reaches the outputs whose window has it; backward: a grad_out reaches its own window."""
    image, vertical, horizontal = (t.float() for t in inputs(rng, (3, 4), (1, 2, 20, 40)))
    image[0, 1, 10, 20] = value
    image.requires_grad_()
    out = vk.sepconv(image, vertical, horizontal)
    reached = torch.zeros(20, 40, dtype=torch.bool)
    reached[8:11, 17:21] = True
    assert torch.equal(~out[0, 1].isfinite(), reached) and out[0, 0].isfinite().all()
    cotangent = torch.ones_like(out)
    cotangent[0, 0, 7, 30] = value
    (grad,) = torch.autograd.grad(out, image, cotangent)
    window = torch.zeros(22, 43, dtype=torch.bool)
    window[7:10, 30:34] = True
    assert torch.equal(~grad[0, 0].isfinite(), window) and grad[0, 1].isfinite().all()


@pytest.mark.parametrize("kinds", [("bfloat16", "float32"), ("float32", "float16"), ("float16", "float64")])
def test_kernels_of_other_dtypes(backend, kinds, rng):
    """As a network inside torch.autocast gives them: read as they are, in sums of the widest."""
    names = (*kinds, "float32")
    image, vertical, horizontal = (t.to(getattr(torch, n)) for t, n in zip(inputs(rng, (3, 5)), names))
    out = vk.sepconv(image, vertical, horizontal)
    assert out.dtype == image.dtype
    assert_near(out, by_unfold(image.double(), vertical.double(), horizontal.double()))


FIT = ((1, 2, 6, 8), (1, 3, 4, 5), (1, 4, 4, 5))
# Which argument, a shape that it must not have, and what is said of it.
WRONG = [
    (1, (1, 0, 4, 5), "vertical of shape (B, Fv, H, W) with B = 1 as image has and Fv at least 1"),
    (1, (2, 3, 4, 5), "vertical of shape (B, Fv, H, W) with B = 1 as image has and Fv at least 1"),
    (2, (4, 4, 5), "horizontal of shape (B, Fh, H, W) with B = 1 as image has and Fh at least 1"),
    (2, (1, 4, 4, 6), "horizontal of height and width (4, 5) as vertical has"),
    (0, (1, 2, 4, 5), "image of height and width (H + Fv - 1, W + Fh - 1) = (6, 8)"),
    (0, (2, 6, 8), "image of shape (B, C, H, W)"),
]


@pytest.mark.parametrize(("which", "shape", "expected"), WRONG)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_sizes_that_do_not_fit_get_one_sentence(backend, which, shape, expected, device):
    shapes = [shape if n == which else fitting for n, fitting in enumerate(FIT)]
    with pytest.raises(vk.ArgumentError) as caught:
        vk.sepconv(*(torch.zeros(s, device=device) for s in shapes))
    assert str(caught.value) == f"sepconv: expected {expected}, got {shape}"


SHAPES = (((11, 5), (1, 3, 13, 37)), ((2, 9), (1, 4, 7, 5)), ((25, 25), (1, 3, 26, 17)))


def check_every_dtype():
    """Against the reference, with blocks of every height."""
    for taps, shape in SHAPES:
        for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
            rng = torch.Generator().manual_seed(1)
            arguments = [t.requires_grad_() for t in inputs(rng, taps, shape, dtype)]
            out = vk.sepconv(*arguments)
            results = (out, *torch.autograd.grad(out.sum(), arguments))
            exact = [t.detach().double().requires_grad_() for t in arguments]
            expected = by_unfold(*exact)
            for a, b in zip(results, (expected, *torch.autograd.grad(expected.sum(), exact))):
                assert_near(a, b, slack=4)


@pytest.mark.slow
@every_level
def test_every_instruction_set(level):
    run_at_level(level, __file__, "check_every_dtype()")
