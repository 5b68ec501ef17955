"""Which patches each refine block sees: chosen by a small network, or by how far the warped frames disagree."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vfi_kernels as vk
from vfi.errors import ArgumentError
from vfi.models.apr_vfi.config import ROUTED, APRConfig
from vfi.models.apr_vfi.options import ROUTINGS
from vfi.options import whole

TEMPERATURE = 1.0  # of the Gumbel softmax; the paper names none


class Router(nn.Module):
    """Alignment-aware patch-level routing: for each patch and routed block, whether the block sees the patch."""

    def __init__(self, config: APRConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.features = nn.Sequential(
            nn.Conv2d(13, 16, 1), nn.LeakyReLU(0.1, True), nn.Conv2d(16, 32, 3, 1, 1), nn.LeakyReLU(0.1, True)
        )
        self.choice = nn.Linear(32, 2 * ROUTED)

    def forward(self, warped0: Tensor, warped1: Tensor, flow: Tensor) -> Tensor:
        """Warped frames (B, 3, H, W) and flow (B, 4, H, W) -> logits (B, H / patch, W / patch, 4, 2): skip, see."""
        x = self.features(torch.cat(((warped0 - warped1).abs(), flow, warped0, warped1), 1))
        pooled = F.avg_pool2d(x, self.patch) + F.max_pool2d(x, self.patch)
        result: Tensor = self.choice(pooled.permute(0, 2, 3, 1)).unflatten(-1, (ROUTED, 2))
        return result


def votes(logits: Tensor) -> Tensor:
    """A sample in {0, 1} whose gradient is that of the Gumbel softmax (straight-through): (B, rows, columns, 4)."""
    return F.gumbel_softmax(logits, TEMPERATURE, hard=True)[..., 1]


def misalignment(warped0: Tensor, warped1: Tensor, seen: Tensor, patch: int) -> Tensor:
    """How far the warped frames disagree in each patch, (B, rows, columns): the largest mean over 4 x 4 pixels of the
    absolute difference, where both frames are seen (equation 5 of the paper).

    Args:
        warped0, warped1: (B, 3, H, W); H and W multiples of `patch`, 4 or more.
        seen: bool (B, 1, H, W), where they are compared: where both frames have landed, or what that encloses.
    """
    whole("patch", patch, 4)
    difference = (warped0 - warped1).abs().mean(1, keepdim=True) * seen
    return F.max_pool2d(F.avg_pool2d(difference, 4), patch // 4)[:, 0]


def enclosed(seen: Tensor) -> Tensor:
    """bool (B, 1, H, W): where something is seen to the left and right, above and below, or here. The rest are the
    holes that warping leaves along the edge of a picture, M_hole of equation 5; holes inside are enclosed."""
    there, sides = seen.to(torch.int32), []
    for axis in (2, 3):
        sides += [there.cummax(axis).values, there.flip(axis).cummax(axis).values.flip(axis)]
    return torch.stack(sides).amin(0) > 0


def kept(share: float, patches: int) -> int:
    """How many of `patches` a share is, rounded to the nearest; halves up."""
    return math.floor(share * patches + 0.5 + 1e-9)  # 0.29 * 50 is 14.499...


def top_shares(scores: Tensor, keep: Sequence[float]) -> Tensor:
    """For each routed block the share of the patches that score highest: bool (B, rows, columns, 4).

    Args:
        scores: (B, rows, columns, 4), one for each block, or (B, rows, columns, 1) for all; of equals the first win.
            With those of `misalignment` this is the reference route of the paper.
        keep: a share in [0, 1] for each routed block.
    """
    if len(keep) != ROUTED or not all(0 <= share <= 1 for share in keep):
        raise ArgumentError(f"top_shares: expected {ROUTED} shares in [0, 1], got {tuple(keep)}")
    flat = scores.flatten(1, 2)
    rank = flat.argsort(stable=True, dim=1, descending=True).argsort(dim=1).view(scores.shape)
    counts = [kept(share, flat.shape[1]) for share in keep]
    return rank < torch.tensor(counts, device=rank.device)


def lists_of(route: Tensor, keep: Sequence[float] | None = None) -> list[Tensor]:
    """The list of patches of each routed block. `keep`: the shares of which the route was made; where they are known
    nothing has to wait for a GPU."""
    batch, rows, columns, blocks = route.shape
    counts = [None] * blocks if keep is None else [batch * kept(share, rows * columns) for share in keep]
    return [vk.patch_indices(part, capacity=n) for part, n in zip(route.unbind(-1), counts, strict=True)]


def check_routing(routing: object, keep: Sequence[float] | None) -> None:
    """Of the arguments of `APRVFI.forward`; the shape of a route is seen later."""
    if not isinstance(routing, Tensor) and routing not in ROUTINGS:
        raise ArgumentError(f"APRVFI: expected routing {', '.join(ROUTINGS)} or a route, got {routing!r}")
    if keep is None:
        return
    if isinstance(routing, Tensor) or routing not in ("apr", "ratio"):
        raise ArgumentError("APRVFI: expected keep with routing 'apr' or 'ratio' only")
    try:
        fits = len(keep) == ROUTED and all(0 <= float(share) <= 1 for share in keep)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ArgumentError(f"APRVFI: expected keep to be {ROUTED} shares in [0, 1], got {keep!r}")
