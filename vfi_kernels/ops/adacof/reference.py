"""Adaptive collaboration of flows in plain PyTorch: the specification that the kernels are tested against."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vfi_kernels._arguments import expect, expect_device, expect_floating, expect_image, shape
from vfi_kernels._results import accumulator, as_result, not_needed
from vfi_kernels.ops._shared.reference_math.bilinear import Corner, flow_term, gather, scatter_add

OP = "adacof"


def check(
    image: Tensor, weights: Tensor, offsets_vertical: Tensor, offsets_horizontal: Tensor, dilation: int
) -> tuple[int, tuple[int, int]]:
    """Raises ArgumentError unless the shapes fit each other; otherwise F and the output's height and width."""
    expect_image(OP, "image", image)
    expect(1 <= dilation < 2**31, OP, "dilation from 1 to 2147483647", dilation)
    b = image.shape[0]
    side = math.isqrt(weights.shape[1]) if weights.dim() == 4 else 0
    right = side > 0 and side * side == weights.shape[1] and weights.shape[0] == b
    expected = f"weights of shape (B, F^2, H, W) with B = {b} as image has and F at least 1"
    expect(right, OP, expected, shape(weights))
    named = (("offsets_vertical", offsets_vertical), ("offsets_horizontal", offsets_horizontal))
    for name, offsets in named:
        expect(shape(offsets) == shape(weights), OP, f"{name} of shape {shape(weights)} as weights has", shape(offsets))
    for name, t in (("weights", weights), *named):
        expect_floating(OP, name, t)
        expect_device(OP, name, t, image, "image")
    size = (weights.shape[2], weights.shape[3])
    border = dilation * (side - 1)
    padded = (size[0] + border, size[1] + border)
    expected = f"image of height and width (H + dilation (F - 1), W + dilation (F - 1)) = {padded}"
    expect(tuple(image.shape[2:]) == padded, OP, expected, shape(image))
    return side, size


def adacof(
    image: Tensor, weights: Tensor, offsets_vertical: Tensor, offsets_horizontal: Tensor, dilation: int = 1
) -> Tensor:
    """out[y, x] = sum_{k, l} weights[k F + l] image(y + dilation k + vertical, x + dilation l + horizontal)"""
    side, size = check(image, weights, offsets_vertical, offsets_horizontal, dilation)
    acc = accumulator(image, weights, offsets_vertical, offsets_horizontal)
    out = image.new_zeros((*image.shape[:2], *size), dtype=acc)
    if out.numel() > 0:
        corner_list = corners(image, side, offsets_vertical.to(acc), offsets_horizontal.to(acc), dilation)
        terms = torch.where(corner_list[0].inside, tall(weights[:, None].to(acc)) * _value(image, corner_list, acc), 0)
        out = terms.unflatten(2, (side * side, size[0])).sum(2)
    return as_result(out, image)


def adacof_grad(
    grad_out: Tensor,
    image: Tensor,
    weights: Tensor,
    offsets_vertical: Tensor,
    offsets_horizontal: Tensor,
    dilation: int,
    deterministic: bool,
    need_image: bool,
    need_weights: bool,
    need_offsets_vertical: bool,
    need_offsets_horizontal: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """With g = grad_out and v_k the corners of a tap: image[k] receives w c_k g, the weight sum_c g sum_k c_k v_k, the
    offsets w sum_c g sum_k dc_k v_k."""
    side, _ = check(image, weights, offsets_vertical, offsets_horizontal, dilation)
    acc = accumulator(image, weights, offsets_vertical, offsets_horizontal)
    grad_image = image.new_zeros(image.shape, dtype=acc)
    of_weights = weights.new_zeros(weights.shape, dtype=acc)
    moved = torch.stack([of_weights, of_weights], 1)
    if weights.numel() > 0:
        corner_list = corners(image, side, offsets_vertical.to(acc), offsets_horizontal.to(acc), dilation)
        g = tall(grad_out.to(acc)[:, :, None].expand(-1, -1, side * side, -1, -1))
        upstream = g * tall(weights[:, None].to(acc))
        if need_image:
            for corner in corner_list:
                grad_image = scatter_add(grad_image, corner, corner.term(corner.weight, upstream))
        of_weights = (
            torch.where(corner_list[0].inside, g * _value(image, corner_list, acc), 0).sum(1).view(weights.shape)
        )
        terms = [flow_term(corner, gather(image, corner).to(acc), upstream) for corner in corner_list]
        moved = (terms[0] + terms[1] + terms[2] + terms[3]).view(moved.shape)
    return (
        as_result(grad_image, image) if need_image else not_needed(image),
        as_result(of_weights, weights) if need_weights else not_needed(weights),
        as_result(moved[:, 1], offsets_vertical) if need_offsets_vertical else not_needed(offsets_vertical),
        as_result(moved[:, 0], offsets_horizontal) if need_offsets_horizontal else not_needed(offsets_horizontal),
    )


def tall(t: Tensor) -> Tensor:
    """(B, C, F F, H, W) -> (B, C, F F H, W): the taps one below another, as if they were one picture."""
    return t.flatten(2, 3)


@dataclass(frozen=True)
class Axis:
    """The two pixels of every position along one axis, which are one where the position is clipped."""

    at: tuple[Tensor, Tensor]  # [B, F F, H, W]
    weight: tuple[Tensor, Tensor]
    moves: Tensor  # bool: not clipped

    def slope(self, n: int) -> Tensor:
        """d weight[n] / d offset"""
        return torch.where(self.moves, 2.0 * n - 1, 0)


def axis(start: Tensor, offset: Tensor, size: int) -> Axis:
    """The integer part is cut towards 0: a negative fraction extrapolates. Each pixel is clipped by itself."""
    finite_offset = torch.where(offset.isfinite(), offset, 0)
    whole = finite_offset.trunc()
    first, fraction = start + whole, finite_offset - whole
    moves = (first >= 0) & (first < size - 1)
    at = (first.clamp(0, size - 1).long(), (first + 1).clamp(0, size - 1).long())
    return Axis(at, (torch.where(moves, 1 - fraction, 1), torch.where(moves, fraction, 0)), moves)


def corners(image: Tensor, side: int, vertical: Tensor, horizontal: Tensor, dilation: int) -> list[Corner]:
    """The four pixels of every tap, (B, 1, F F H, W); none is inside where an offset is not finite."""
    b, taps, h, w = vertical.shape
    tap = torch.arange(taps, device=image.device, dtype=vertical.dtype)[:, None, None]
    ys = torch.arange(h, device=image.device, dtype=vertical.dtype)[:, None] + dilation * (tap / side).floor()
    xs = torch.arange(w, device=image.device, dtype=vertical.dtype) + dilation * tap.remainder(side)
    finite = vertical.isfinite() & horizontal.isfinite()
    y, x = axis(ys, vertical, image.shape[2]), axis(xs, horizontal, image.shape[3])
    corner_list = []
    for j, i in ((0, 0), (0, 1), (1, 0), (1, 1)):
        index = (y.at[j] * image.shape[3] + x.at[i]).reshape(b, 1, taps * h * w)
        wy, wx = y.weight[j], x.weight[i]
        planes = (finite, finite, wy * wx, finite & (wy != 0) & (wx != 0), x.slope(i) * wy, y.slope(j) * wx)
        corner_list.append(Corner(index, *(t.reshape(b, 1, taps * h, w) for t in planes)))
    return corner_list


def _value(image: Tensor, corner_list: list[Corner], acc: torch.dtype) -> Tensor:
    """sum_k c_k v_k, (B, C, F F H, W)"""
    parts = [corner.sampled(gather(image, corner).to(acc)) for corner in corner_list]
    return parts[0] + parts[1] + parts[2] + parts[3]
