"""Peers of adacof and sepconv: the adaptive kernels as plain torch writes them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels.bench.peers import Peer, register


def by_gathers(
    image: Tensor, weights: Tensor, offsets_vertical: Tensor, offsets_horizontal: Tensor, dilation: int = 1
) -> Tensor:
    """Four gathers for each tap, one tap after another."""
    b, c, height, width = image.shape
    side, (h, w) = math.isqrt(weights.shape[1]), weights.shape[2:]
    planes = image.flatten(2)
    ys = torch.arange(h, device=image.device)[:, None]
    xs = torch.arange(w, device=image.device)
    out = image.new_zeros(b, c, h, w)
    for n in range(side * side):
        down, right = offsets_vertical[:, n], offsets_horizontal[:, n]
        rows, columns = down.trunc(), right.trunc()
        fy, fx = down - rows, right - columns
        y, x = rows.long() + ys + n // side * dilation, columns.long() + xs + n % side * dilation
        for j, wy in ((0, 1 - fy), (1, fy)):
            for i, wx in ((0, 1 - fx), (1, fx)):
                at = (y + j).clamp(0, height - 1) * width + (x + i).clamp(0, width - 1)
                corner = planes.gather(2, at.flatten(1)[:, None].expand(-1, c, -1)).view(b, c, h, w)
                out = out + corner * (weights[:, n] * wy * wx)[:, None]
    return out


def by_one_gather(
    image: Tensor, weights: Tensor, offsets_vertical: Tensor, offsets_horizontal: Tensor, dilation: int = 1
) -> Tensor:
    """Four gathers, each of all taps at once."""
    b, c, height, width = image.shape
    side, (h, w) = math.isqrt(weights.shape[1]), weights.shape[2:]
    planes = image.flatten(2)
    taps = torch.arange(side * side, device=image.device)[:, None, None]
    rows, columns = offsets_vertical.trunc(), offsets_horizontal.trunc()
    fy, fx = offsets_vertical - rows, offsets_horizontal - columns
    y = rows.long() + torch.arange(h, device=image.device)[:, None] + taps // side * dilation
    x = columns.long() + torch.arange(w, device=image.device) + taps % side * dilation
    out = image.new_zeros(b, c, h, w)
    for j, wy in ((0, 1 - fy), (1, fy)):
        for i, wx in ((0, 1 - fx), (1, fx)):
            at = (y + j).clamp(0, height - 1) * width + (x + i).clamp(0, width - 1)
            corner = planes.gather(2, at.flatten(1)[:, None].expand(-1, c, -1)).view(b, c, side * side, h, w)
            out = out + (corner * (weights * wy * wx)[:, None]).sum(2)
    return out


def by_unfold(image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """All windows of the image, times the full kernels."""
    b, c = image.shape[:2]
    (taps_v, taps_h), (h, w) = (vertical.shape[1], horizontal.shape[1]), vertical.shape[2:]
    windows = F.unfold(image, (taps_v, taps_h)).view(b, c, taps_v * taps_h, h, w)
    kernels = (vertical[:, :, None] * horizontal[:, None]).flatten(1, 2)
    return torch.einsum("bcnhw,bnhw->bchw", windows, kernels)


def by_rows(image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """The rows of every window summed with the row of weights, then the column: one row of taps after another."""
    h = vertical.shape[2]
    row = horizontal.permute(0, 2, 3, 1).contiguous()[:, None]
    out = image.new_zeros(*image.shape[:2], *vertical.shape[2:])
    for i in range(vertical.shape[1]):
        windows = image[:, :, i : i + h].unfold(3, horizontal.shape[1], 1)
        out = out + (windows * row).sum(4) * vertical[:, i : i + 1]
    return out


def by_taps(image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """One product and sum for each tap: the two passes without a window in memory."""
    h, w = vertical.shape[2:]
    out = image.new_zeros(*image.shape[:2], h, w)
    for i in range(vertical.shape[1]):
        total = torch.zeros_like(out)
        for j in range(horizontal.shape[1]):
            total = torch.addcmul(total, image[:, :, i : i + h, j : j + w], horizontal[:, j : j + 1])
        out = torch.addcmul(out, total, vertical[:, i : i + 1])
    return out


def too_large(image: Tensor, vertical: Tensor, horizontal: Tensor) -> str | None:
    taps, pixels = vertical.shape[1] * horizontal.shape[1], vertical[:, 0].numel()
    gib = (image.shape[1] + 1) * taps * pixels * image.element_size() / 2**30
    return None if gib < 2 else f"windows and kernels of {gib:.1f} GiB"


def as_many_products(image: Tensor, vertical: Tensor, horizontal: Tensor) -> tuple[Tensor, Tensor]:
    """Square matrices whose product has as many multiply-adds."""
    taps = vertical.shape[1] * (horizontal.shape[1] + 1)
    side = round((image.shape[0] * image.shape[1] * vertical[0, 0].numel() * taps) ** (1 / 3))
    return image.new_ones(side, side), image.new_ones(side, side)


register(Peer("gathers, tap by tap", "adacof", by_gathers))
register(Peer("gathers of all taps", "adacof", by_one_gather))
register(Peer("unfold", "sepconv", by_unfold, unsuited=too_large))
register(Peer("unfold, row by row", "sepconv", by_rows))
register(Peer("loop over taps", "sepconv", by_taps))
register(Peer("mm of as many products", "sepconv", torch.mm, as_many_products, differentiable=False, yardstick=True))
