"""Bilinear sampling positions in plain PyTorch: csrc/sampling/bilinear.h for whole tensors; the names are the same.

    x0 = x + floor(fx), lx = fx - floor(fx)    (the flow is split, not the position: no digits are lost at large x)
    rx = floor(fx) + 1 - fx                    (1 - lx to its own last bit: of fx = -1e-6, lx has lost most of it)
    corner (i, j) = pixel (x0 + i, y0 + j), weight = (i ? lx : rx) (j ? ly : ry)

A corner outside the image, or whose weight is exactly 0, is not used: 0 * inf never happens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FAR = 2**30  # further than any image is wide


@dataclass(frozen=True)
class Axis:
    """One coordinate of every position."""

    base: Tensor  # [B, H, W], the whole pixel at or before the position
    fraction: Tensor  # [B, H, W], in [0, 1), or in (0, 1] where the image lies mirrored
    rest: Tensor  # [B, H, W], 1 - fraction
    slope: Tensor  # d position / d flow: 1; -1 where the image lies mirrored, 0 where clipped or not finite


@dataclass(frozen=True)
class Corner:
    """One of the four pixels around every position."""

    index: Tensor  # [B, 1, H * W], offset in a plane; 0 where outside
    inside: Tensor  # bool [B, 1, H, W]
    landed: Tensor  # bool [B, 1, H, W], the position is finite (the same for all four corners)
    weight: Tensor  # [B, 1, H, W]
    read: Tensor  # bool: inside, and neither factor of the weight is 0, though their product may be
    weight_dx: Tensor  # d weight / d flow_x, right-sided at integers, 0 where the coordinate does not move
    weight_dy: Tensor

    def term(self, weight: Tensor, value: Tensor) -> Tensor:
        """weight * value, and 0 where the corner is not used."""
        return torch.where(self.inside & (weight != 0), weight * value, 0)

    def sampled(self, value: Tensor) -> Tensor:
        """weight * value of an image that is read: kernels work a row at a time, where 1e-30 is not 0."""
        return torch.where(self.read, self.weight * value, 0)


def split(start: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Whole pixel and fraction of start + flow."""
    base, fraction = start + flow.floor(), flow - flow.floor()
    up = fraction == 1  # -1e-30 + 1 rounds to 1: the position is the next pixel
    return torch.where(up, base + 1, base), torch.where(up, 0, fraction)


def _axis(start: Tensor, flow: Tensor, size: int, padding_mode: str) -> Axis:
    finite = flow.isfinite()
    finite_flow = torch.where(finite, flow, 0)
    base, fraction = split(start, finite_flow)
    rest = torch.where(fraction == 0, 1, finite_flow.floor() + 1 - finite_flow)
    if padding_mode == "zeros":
        return Axis(base, fraction, rest, finite.to(flow.dtype))
    if padding_mode == "reflection" and size > 1:
        return _mirrored(start, flow, fraction, rest, size - 1)
    low = (base < 0) | flow.isnan() | (flow == -torch.inf)
    high = ~low & ((base >= size - 1) | (flow == torch.inf))
    base = torch.where(low, 0, torch.where(high, size - 1, base))
    fraction, rest = torch.where(low | high, 0, fraction), torch.where(low | high, 1, rest)
    moves = finite & ~low & ~high & ((base > 0) | (fraction > 0))
    return Axis(base, fraction, rest, moves.to(flow.dtype))


def _mirrored(start: Tensor, flow: Tensor, fraction: Tensor, rest: Tensor, last: int) -> Axis:
    """The image goes on mirrored at the centres of its outer pixels, on which both directions are alike. What is not
    finite, or further than FAR, acts as coordinate 0."""
    near, period = flow.abs() < FAR, 2 * last
    whole, _ = split(torch.zeros_like(flow), torch.where(near, flow, 0))
    at = (whole.remainder(period) + start).remainder(period)
    back, fold = at >= last, (fraction == 0) & (at.remainder(last) == 0)
    slope = torch.where(near & ~fold, torch.where(back, -1, 1).to(flow.dtype), 0)
    base = torch.where(near, torch.where(back, period - 1 - at, at), 0)
    turned, rest = torch.where(back, rest, fraction), torch.where(back, fraction, rest)
    return Axis(base, torch.where(near, turned, 0), torch.where(near, rest, 1), slope)


def corners(
    flow: Tensor, size: Sequence[int], padding_mode: str, starts: tuple[Tensor, Tensor] | None = None
) -> list[Corner]:
    """The four corners of every position (x, y) + flow, flow (B, 2, H, W), in an image of size (height, width).
    `starts` are other (x, y) than a pixel's own: whole numbers that broadcast to (H, W)."""
    b, _, h, w = flow.shape
    height, width = size
    if starts is None:
        xs = torch.arange(w, device=flow.device, dtype=flow.dtype)
        starts = xs, torch.arange(h, device=flow.device, dtype=flow.dtype)[:, None]
    xs, ys = starts
    x, y = _axis(xs, flow[:, 0], width, padding_mode), _axis(ys, flow[:, 1], height, padding_mode)
    finite = flow.isfinite().all(1) | (padding_mode != "zeros")
    corner_list = []
    for j in (0, 1):
        for i in (0, 1):
            cx, cy = x.base + i, y.base + j
            inside = finite & (cx >= 0) & (cx < width) & (cy >= 0) & (cy < height)
            index = torch.where(inside, cy, 0).long() * width + torch.where(inside, cx, 0).long()
            wx = x.fraction if i else x.rest
            wy = y.fraction if j else y.rest
            dx = x.slope * (wy if i else -wy)
            dy = y.slope * (wx if j else -wx)
            read = inside & (wx != 0) & (wy != 0)
            planes = (t.unsqueeze(1) for t in (inside, finite, wx * wy, read, dx, dy))
            corner_list.append(Corner(index.view(b, 1, h * w), *planes))
    return corner_list


def gather(image: Tensor, corner: Corner) -> Tensor:
    """image[b, c] at the corner of every position: (B, C, Hi, Wi) -> (B, C, H, W)."""
    b, c, image_height, image_width = image.shape
    h, w = corner.inside.shape[2:]
    planes = image.reshape(b, c, image_height * image_width)
    return planes.gather(2, corner.index.expand(b, c, h * w)).view(b, c, h, w)


def scatter_add(target: Tensor, corner: Corner, term: Tensor) -> Tensor:
    """target[b, c] + term added at the corner of every position: (B, C, Ht, Wt) and (B, C, H, W) -> (B, C, Ht, Wt)."""
    b, c, h, w = term.shape
    planes = target.reshape(b, c, target.shape[2] * target.shape[3])
    return planes.scatter_add(2, corner.index.expand(b, c, h * w), term.reshape(b, c, h * w)).view(target.shape)


def flow_term(corner: Corner, value: Tensor, g: Tensor) -> Tensor:
    """What one corner adds to the gradient of the flow: sum_c g value (dw/dx, dw/dy), (B, 2, H, W)."""
    dx, dy = (corner.term(d, g * value) for d in (corner.weight_dx, corner.weight_dy))
    return torch.cat([dx.sum(1, keepdim=True), dy.sum(1, keepdim=True)], 1)
