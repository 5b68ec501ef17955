"""Peers of correlation: the cost volume as models without a kernel of their own write it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels.bench.peers import Peer, register
from vfi_kernels.bench.peers.compiled import compiled, start_afresh


def by_displacement(
    first: Tensor, second: Tensor, radius: int = 4, *, patch_dilation: int = 1, cost: str = "dot", **window: int
) -> Tensor:
    """One product (or difference) and mean for each displacement, of `second` padded once."""
    h, w = first.shape[2:]
    reach = radius * patch_dilation
    padded, side = F.pad(second, [reach] * 4), range(0, 2 * reach + 1, patch_dilation)
    planes = []
    for y in side:
        for x in side:
            shifted = padded[..., y : y + h, x : x + w]
            costs = (first - shifted).abs() if cost == "l1" else first * shifted
            planes.append(costs.mean(1, keepdim=True))
    return over_windows(torch.cat(planes, 1), **window)


def over_windows(points: Tensor, kernel_size: int = 1, padding: int = 0) -> Tensor:
    """The mean over the window of each output."""
    return F.avg_pool2d(points, kernel_size, 1, padding) if kernel_size > 1 else points


def by_unfold(
    first: Tensor, second: Tensor, radius: int = 4, *, patch_dilation: int = 1, cost: str = "dot", **window: int
) -> Tensor:
    """All windows of `second` at once, then one sum over the channels."""
    b, c, h, w = first.shape
    windows = F.unfold(second, 2 * radius + 1, patch_dilation, radius * patch_dilation).view(b, c, -1, h, w)
    if cost == "l1":
        return over_windows((first[:, :, None] - windows).abs().mean(1), **window)
    return over_windows(torch.einsum("bchw,bcdhw->bdhw", first, windows) / c, **window)


def by_products(first: Tensor, second: Tensor, radius: int = 4) -> Tensor:
    """Each row of `first` times every row of `second` in reach, as matrices of which the diagonals are kept."""
    b, c, h, w = first.shape
    n = 2 * radius + 1
    padded = F.pad(second, [radius] * 4)
    rows = first.permute(0, 2, 3, 1).reshape(b * h, w, c)
    planes = []
    for y in range(n):
        columns = padded[:, :, y : y + h].permute(0, 2, 1, 3).reshape(b * h, c, w + 2 * radius)
        scores = torch.bmm(rows, columns).contiguous()
        wide = w + 2 * radius
        planes.append(scores.as_strided((b * h, w, n), (w * wide, wide + 1, 1)).view(b, h, w, n))
    return (torch.cat(planes, 3) / c).permute(0, 3, 1, 2)


def neighbours_only(*arguments: object, **options: Any) -> str | None:
    return "computes products of single pixels" if set(options) - {"radius"} else None


register(Peer("loop over displacements", "correlation", by_displacement))
register(Peer("unfold", "correlation", by_unfold))
register(Peer("bmm of rows", "correlation", by_products, unsuited=neighbours_only))
register(
    Peer(
        "compiled loop over displacements",
        "correlation",
        compiled(by_displacement),
        prepare=start_afresh,
        compiles=True,
    )
)
