"""compat.adacof, compat.sepconv and compat.dsepconv against transcriptions, in values and gradients."""

import pytest
import torch
import torch.nn.functional as F

import vfi_kernels as vk
from vfi_kernels import compat


def at_pixel(image, y, x):
    """image[b, c, y, x] for maps (B, H, W) of whole numbers, clipped to the image."""
    rows, columns = y.clamp(0, image.shape[2] - 1), x.clamp(0, image.shape[3] - 1)
    index = (rows * image.shape[3] + columns).flatten(1)[:, None].expand(-1, image.shape[1], -1)
    return image.flatten(2).gather(2, index).view(*image.shape[:2], *y.shape[1:])


def adacof(image, weight, offset_i, offset_j, dilation):
    """int() of the offsets; four pixels, each clipped; plain bilinear weights of what int() left."""
    h, w = weight.shape[2:]
    side, ys, xs = int(weight.shape[1] ** 0.5), torch.arange(h)[:, None], torch.arange(w)
    out = 0
    for n in range(side * side):
        a, b = offset_i[:, n].long(), offset_j[:, n].long()
        fa, fb = offset_i[:, n] - a, offset_j[:, n] - b
        y, x = ys + n // side * dilation + a, xs + n % side * dilation + b
        upper = at_pixel(image, y, x) * (1 - fb)[:, None] + at_pixel(image, y, x + 1) * fb[:, None]
        lower = at_pixel(image, y + 1, x) * (1 - fb)[:, None] + at_pixel(image, y + 1, x + 1) * fb[:, None]
        out = out + weight[:, n : n + 1] * (upper * (1 - fa)[:, None] + lower * fa[:, None])
    return out


def sepconv(image, vertical, horizontal):
    h, w = vertical.shape[2:]
    pairs = [(i, j) for i in range(vertical.shape[1]) for j in range(horizontal.shape[1])]
    return sum(image[..., i : i + h, j : j + w] * vertical[:, i : i + 1] * horizontal[:, j : j + 1] for i, j in pairs)


def dsepconv(image, vertical, horizontal, down, right, mask):
    """Positions in pixels, clipped, through grid_sample."""
    taps, (h, w) = vertical.shape[1], vertical.shape[2:]
    size = torch.tensor(image.shape[2:], dtype=image.dtype)
    out = 0
    for n in range(taps * taps):
        i, j = divmod(n, taps)
        y = (torch.arange(h)[:, None] + i - (taps - 1) // 2 + 1 + down[:, n]).clamp(0, size[0].item() - 1)
        x = (torch.arange(w) + j - (taps - 1) // 2 + 1 + right[:, n]).clamp(0, size[1].item() - 1)
        grid = torch.stack((2 * x / (size[1] - 1) - 1, 2 * y / (size[0] - 1) - 1), 3)
        read = F.grid_sample(image, grid, align_corners=True, padding_mode="border")
        out = out + read * (vertical[:, i] * horizontal[:, j] * mask[:, n])[:, None]
    return out


def draw(rng, *shape, scale=1.0):
    return (scale * torch.randn(*shape, generator=rng, dtype=torch.float64)).requires_grad_()


def expect_same(ours, theirs, arguments, rng, **options):
    got, expected = ours(*arguments, **options), theirs(*arguments, **options)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    cotangent = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    gradients = torch.autograd.grad(got, arguments, cotangent)
    for a, b in zip(gradients, torch.autograd.grad(expected, arguments, cotangent), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("side", "dilation"), [(2, 1), (5, 1), (3, 2)])
def test_adacof(side, dilation, rng):
    """Offsets of both signs, some that leave the image."""
    border, taps = dilation * (side - 1), side * side
    arguments = [draw(rng, 2, 3, 7 + border, 9 + border), draw(rng, 2, taps, 7, 9)]
    arguments += [draw(rng, 2, taps, 7, 9, scale=4) for _ in range(2)]
    expect_same(compat.adacof.FunctionAdaCoF.apply, adacof, [*arguments], rng, dilation=dilation)


@pytest.mark.parametrize("taps", [2, 5, 13])
def test_sepconv(taps, rng):
    image = draw(rng, 2, 3, 6 + taps - 1, 8 + taps - 1)
    arguments = [image, draw(rng, 2, taps, 6, 8), draw(rng, 2, taps, 6, 8)]
    for function in (compat.sepconv.FunctionSepconv, compat.sepconv.sepconv_func.apply, compat.sepconv.ModuleSepconv()):
        expect_same(function, sepconv, arguments, rng)


@pytest.mark.parametrize("taps", [4, 5])
def test_dsepconv(taps, rng):
    """Offsets that leave the image; none lands on its border exactly, where either gradient would do."""
    size, square = (7, 9), taps * taps
    arguments = [draw(rng, 2, 3, size[0] + taps - 1, size[1] + taps - 1)]
    arguments += [draw(rng, 2, taps, *size) for _ in range(2)]
    arguments += [draw(rng, 2, square, *size, scale=4) for _ in range(2)] + [draw(rng, 2, square, *size)]
    expect_same(compat.dsepconv.FunctionDSepconv, dsepconv, arguments, rng)


def test_dsepconv_far_away(rng):
    """A clipped offset loses no digits at large coordinates, and one that is not finite adds nothing."""
    image = torch.arange(3000.0).expand(1, 1, 3, 3000).contiguous()
    column, row, mask = (torch.ones(1, n, 1, 2998) for n in (3, 3, 9))
    still = torch.zeros(1, 9, 1, 2998)
    out = compat.dsepconv.FunctionDSepconv(image, column, row, still, still + 0.125, mask)
    expected = compat.dsepconv.FunctionDSepconv(image.double(), column, row, still, still + 0.125, mask)
    torch.testing.assert_close(out.double(), expected, rtol=1e-6, atol=0)
    still[0, 4, 0, 7] = torch.nan
    without = compat.dsepconv.FunctionDSepconv(image, column, row, still, torch.full_like(still, 0.125), mask)
    assert without.isfinite().all() and without[0, 0, 0, 7] < out[0, 0, 0, 7]


def test_sizes_that_do_not_fit_get_one_sentence():
    x, v, taps = torch.zeros(1, 3, 6, 7), torch.zeros(1, 3, 4, 5), torch.zeros(1, 9, 4, 5)
    with pytest.raises(
        vk.ArgumentError, match=r"^FunctionDSepconv: expected tensorHorizontal of shape \(1, 3, 4, 5\), got"
    ):
        compat.dsepconv.FunctionDSepconv(x, v, v[:, :2], taps, taps, taps)
    with pytest.raises(vk.ArgumentError, match=r"^FunctionDSepconv: expected tensorMask of shape \(1, 9, 4, 5\), got"):
        compat.dsepconv.FunctionDSepconv(x, v, v, taps, taps, v)
    with pytest.raises(vk.ArgumentError, match=r"^FunctionDSepconv: expected tensorInput of shape \(1, 3, 6, 7\), got"):
        compat.dsepconv.FunctionDSepconv(x[..., 1:], v, v, taps, taps, taps)
    with pytest.raises(vk.ArgumentError, match=r"^sepconv: expected image of height and width"):
        compat.sepconv.FunctionSepconv(x[..., 1:], v, v)
    with pytest.raises(vk.ArgumentError, match=r"^adacof: expected weights of shape \(B, F\^2, H, W\)"):
        compat.adacof.FunctionAdaCoF.apply(x, v, v, v, 1)
