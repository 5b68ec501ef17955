"""Motion at a time between two frames, from DIS optical flow both ways, at a quarter of the resolution."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import vfi_kernels as vk
from vfi.networks.optical_flow import DisConfig, flow_both_ways
from vfi.networks.resampling import fill_holes, warp

# Of softmax splatting: how much a pixel of wrong colour (of [0, 1]) and one of wrong place (of a quarter) count.
COLOUR, PLACE = 20.0, 4.0


@dataclass(frozen=True)
class MotionAt:
    """Of what is at a time t, by either frame's flow: motion from frame 0 to frame 1, (B, 2, h, w) each in pixels of
    these maps, and where each is known, (B, 2, h, w) of 0 and 1."""

    first: Tensor
    second: Tensor
    known: Tensor


@torch.no_grad()
def quick_flows(frame0: Tensor, frame1: Tensor) -> Tensor:
    """(B, 4, H / 4, W / 4), float32, in pixels of that size: x and y of the flow from frame 0 to 1, then back.

    frame0, frame1: (B, 3, H, W) in [0, 1], RGB; H and W multiples of 4.
    """
    # At the whole resolution: at half of it flow takes a third of the time, and frames begin 0.3 dB worse.
    flows = torch.cat(flow_both_ways(frame0, frame1, DisConfig()), 1)
    return F.avg_pool2d(flows, 4) / 4


@torch.no_grad()
def motion_at(flows: Tensor, frame0: Tensor, frame1: Tensor, t: Tensor) -> MotionAt:
    """
    Args:
        flows: as `quick_flows`.
        frame0, frame1: (B, 3, h, w), of the flows' size.
        t: (B, 1, 1, 1).
    """
    # What leaves the picture cannot be matched: there the flow is that of the surroundings.
    there, back = (fill_holes(f, inside(f)) for f in flows.split(2, 1))
    (first, in0), (second, in1) = (
        splatted(there, metric(frame0, frame1, there, back), t),
        splatted(back, metric(frame1, frame0, back, there), 1 - t),
    )
    second = -second
    filled = fill_holes(torch.where(in0, first, second), in0 | in1)
    return MotionAt(filled, torch.where(in1, second, filled), torch.cat((in0, in1), 1).to(flows.dtype))


def metric(frame: Tensor, other: Tensor, flow: Tensor, flow_back: Tensor) -> Tensor:
    """How well `flow` explains `other`: 0 is perfect, the more negative the worse."""
    colour_error = (warp(other, flow) - frame).abs().mean(1, keepdim=True)
    return_error = (flow + warp(flow_back, flow)).abs().sum(1, keepdim=True)
    return -(COLOUR * colour_error + PLACE * return_error)


def splatted(flow: Tensor, weight: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The flow carried by itself to time t, and where anything landed."""
    result, log_weight = vk.splat(flow, t * flow, weight, mode="softmax", return_weight=True)
    return result, log_weight > -torch.inf


def inside(flow: Tensor) -> Tensor:
    """Where the position that `flow` points to lies inside the picture, bool (B, 1, H, W)."""
    return vk.backward_warp(flow[:, :0], flow, return_validity=True)[1]
