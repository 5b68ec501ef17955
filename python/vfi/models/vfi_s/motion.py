"""Where vfi-s begins: the optical flow of flow-splat, at a quarter of the resolution, and its frame."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi.models.flow_splat import FlowSplat
from vfi.networks import motion_at
from vfi.networks.motion_at import ScoredFlow
from vfi.networks.resampling import doubled

FLOWS = 2  # of flow-splat, both ways
# Of softmax splatting: how much a pixel of wrong colour (of [0, 1]) and one of wrong place (of a quarter) count.
COLOUR, PLACE = 20.0, 4.0


def quartered(motions: list[tuple[ScoredFlow, ScoredFlow]]) -> Tensor:
    """What `SplatModel.motions` found, (B, 4 * FLOWS, H / 4, W / 4), in pixels of that size: for each the flow from
    frame 0 to 1 and back, x and y."""
    return F.avg_pool2d(torch.cat([way.flow for pair in motions for way in pair], 1), 4) / 4


@torch.no_grad()
def begun(frame0: Tensor, frame1: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Flows as of `quartered`, and the frame of flow-splat (B, 3, H, W).

    frame0, frame1: float32 (B, 3, H, W) in [0, 1], RGB; H and W multiples of 4; times: (B,).
    """
    splat = FlowSplat()
    motions = splat.motions(frame0, frame1)
    return quartered(motions), splat.between(motions, doubled(frame0), doubled(frame1), times.reshape(-1, 1, 1, 1))


@torch.no_grad()
def scored_at_a_quarter(flows: Tensor, frame0: Tensor, frame1: Tensor) -> list[tuple[ScoredFlow, ScoredFlow]]:
    """Of each of the FLOWS; flows: as of `quartered`; frame0, frame1: (B, 3, h, w), of their size."""
    pairs = (both.split(2, 1) for both in flows.split(4, 1))
    return [motion_at.scored(there, back, frame0, frame1, COLOUR, PLACE) for there, back in pairs]
