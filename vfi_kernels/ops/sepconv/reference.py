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
    picture, v, h = image.to(acc), vertical.to(acc), last(horizontal.to(acc))
    out = picture.new_zeros((*image.shape[:2], *size))
    if out.numel() > 0:
        for i in range(v.shape[1]):
            out = out + v[:, i : i + 1] * (windows(picture, i, h) * h).sum(4)
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
    check(image, vertical, horizontal)
    acc = accumulator(image, vertical, horizontal)
    g, picture, v, h = grad_out.to(acc), image.to(acc), vertical.to(acc), last(horizontal.to(acc))
    grad_image, grad_h = torch.zeros_like(picture), torch.zeros_like(h[:, 0])
    grad_v = [torch.zeros_like(v[:, i]) for i in range(v.shape[1])]
    for i in range(v.shape[1] if g.numel() > 0 else 0):
        weighted, read = (g * v[:, i : i + 1])[..., None], windows(picture, i, h)
        if need_image:
            grad_image = grad_image + F.pad(folded(weighted * h), (0, 0, i, v.shape[1] - 1 - i))
        if need_vertical:
            grad_v[i] = (g * (read * h).sum(4)).sum(1)
        if need_horizontal:
            grad_h = grad_h + (weighted * read).sum(1)
    return (
        as_result(grad_image, image) if need_image else not_needed(image),
        as_result(torch.stack(grad_v, 1), vertical) if need_vertical else not_needed(vertical),
        as_result(grad_h.permute(0, 3, 1, 2), horizontal) if need_horizontal else not_needed(horizontal),
    )


def last(horizontal: Tensor) -> Tensor:
    """(B, Fh, H, W) -> (B, 1, H, W, Fh)"""
    return horizontal.permute(0, 2, 3, 1)[:, None]


def windows(image: Tensor, i: int, h: Tensor) -> Tensor:
    """image[y + i, x + j] as (B, C, H, W, Fh), of which h gives the sizes."""
    return image[:, :, i : i + h.shape[2]].unfold(3, h.shape[4], 1)


def folded(terms: Tensor) -> Tensor:
    """(B, C, H, W, Fh) -> (B, C, H, W + Fh - 1): term j of pixel x is added to pixel x + j."""
    _, channels, height, width, taps = terms.shape
    columns = terms.permute(0, 1, 4, 2, 3).reshape(-1, channels * taps, height * width)
    return F.fold(columns, (height, width + taps - 1), (1, taps))
