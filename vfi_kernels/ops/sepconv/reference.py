"""Separable adaptive convolution in plain PyTorch: the specification that the kernels are tested against."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels._arguments import expect, expect_device, expect_floating, expect_image, shape
from vfi_kernels._results import accumulator, as_result, not_needed

OP = "sepconv"


def check(image: Tensor, vertical: Tensor, horizontal: Tensor) -> tuple[int, int]:
    """Raises ArgumentError unless the shapes fit each other; otherwise the output's height and width."""
    expect_image(OP, "image", image)
    b = image.shape[0]
    for name, taps, kernel in (("vertical", "Fv", vertical), ("horizontal", "Fh", horizontal)):
        expected = f"{name} of shape (B, {taps}, H, W) with B = {b} as image has and {taps} at least 1"
        right = kernel.dim() == 4 and kernel.shape[0] == b and kernel.shape[1] > 0
        expect(right, OP, expected, shape(kernel))
        expect_floating(OP, name, kernel)
        expect_device(OP, name, kernel, image, "image")
    size = (vertical.shape[2], vertical.shape[3])
    expected = f"horizontal of height and width {size} as vertical has"
    expect(tuple(horizontal.shape[2:]) == size, OP, expected, shape(horizontal))
    padded = (size[0] + vertical.shape[1] - 1, size[1] + horizontal.shape[1] - 1)
    expected = f"image of height and width (H + Fv - 1, W + Fh - 1) = {padded}"
    expect(tuple(image.shape[2:]) == padded, OP, expected, shape(image))
    return size


def sepconv(image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """out[y, x] = sum_i vertical[i, y, x] sum_j horizontal[j, y, x] image[y + i, x + j]"""
    size = check(image, vertical, horizontal)
    acc = accumulator(image, vertical, horizontal)
    picture, v, h = image.to(acc), vertical.to(acc), horizontal.to(acc)
    out = picture.new_zeros((*image.shape[:2], *size))
    for i in range(v.shape[1]):
        out = out + v[:, i : i + 1] * _row(picture, h, i, size)
    return as_result(out, image)


def sepconv_grad(
    grad_out: Tensor,
    image: Tensor,
    vertical: Tensor,
    horizontal: Tensor,
    need_image: bool,
    need_vertical: bool,
    need_horizontal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """With g = grad_out: image[y + i, x + j] receives g V_i H_j, V_i sum_c g sum_j H_j image, H_j the other way."""
    size = check(image, vertical, horizontal)
    acc = accumulator(image, vertical, horizontal)
    g, picture, v, h = grad_out.to(acc), image.to(acc), vertical.to(acc), horizontal.to(acc)
    taps_v, taps_h = v.shape[1], h.shape[1]
    grad_image, grad_v, grad_h = torch.zeros_like(picture), [], [torch.zeros_like(h[:, :1]) for _ in range(taps_h)]
    for i in range(taps_v):
        weighted = g * v[:, i : i + 1]
        if need_vertical:
            grad_v.append((g * _row(picture, h, i, size)).sum(1, keepdim=True))
        for j in range(taps_h):
            if need_image:
                margins = (j, taps_h - 1 - j, i, taps_v - 1 - i)
                grad_image = grad_image + _padded(weighted * h[:, j : j + 1], margins)
            if need_horizontal:
                read = picture[..., i : i + size[0], j : j + size[1]]
                grad_h[j] = grad_h[j] + (weighted * read).sum(1, keepdim=True)
    return (
        as_result(grad_image, image) if need_image else not_needed(image),
        as_result(torch.cat(grad_v, 1), vertical) if need_vertical else not_needed(vertical),
        as_result(torch.cat(grad_h, 1), horizontal) if need_horizontal else not_needed(horizontal),
    )


def _row(image: Tensor, horizontal: Tensor, i: int, size: tuple[int, int]) -> Tensor:
    """sum_j horizontal[j, y, x] image[y + i, x + j], (B, C, H, W)"""
    rows = image[:, :, i : i + size[0]]
    total = rows.new_zeros((*rows.shape[:3], size[1]))
    for j in range(horizontal.shape[1]):
        total = total + rows[..., j : j + size[1]] * horizontal[:, j : j + 1]
    return total


def _padded(t: Tensor, margins: tuple[int, int, int, int]) -> Tensor:
    """Zeros around t: left, right, above, below."""
    left, right, above, below = margins
    if t.numel() == 0:
        return t.new_zeros((*t.shape[:2], t.shape[2] + above + below, t.shape[3] + left + right))
    return F.pad(t, margins)
