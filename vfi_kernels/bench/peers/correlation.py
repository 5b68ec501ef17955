"""Peers of correlation: the cost volume as models without a kernel of their own write it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels.bench.peers import Peer, register
from vfi_kernels.bench.peers.compiled import compiled, start_afresh


def by_displacement(first: Tensor, second: Tensor, radius: int = 4) -> Tensor:
    """One product and mean for each displacement, of `second` padded once."""
    h, w = first.shape[2:]
    padded, side = F.pad(second, [radius] * 4), range(2 * radius + 1)
    return torch.cat([(first * padded[..., y : y + h, x : x + w]).mean(1, keepdim=True) for y in side for x in side], 1)


def by_unfold(first: Tensor, second: Tensor, radius: int = 4) -> Tensor:
    """All windows of `second` at once, then one sum over the channels."""
    b, c, h, w = first.shape
    windows = F.unfold(second, 2 * radius + 1, padding=radius).view(b, c, -1, h, w)
    return torch.einsum("bchw,bcdhw->bdhw", first, windows) / c


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


register(Peer("loop over displacements", "correlation", by_displacement))
register(Peer("unfold", "correlation", by_unfold))
register(Peer("bmm of rows", "correlation", by_products))
register(
    Peer(
        "compiled loop over displacements",
        "correlation",
        compiled(by_displacement),
        prepare=start_afresh,
        compiles=True,
    )
)
