"""Motion at a time between two frames, from optical flow both ways: softmax splatting of the flows.

Source: Niklaus and Liu, Softmax Splatting for Video Frame Interpolation, CVPR 2020 (the splatting and its metric).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import vfi_kernels as vk
from vfi.networks.resampling import fill_holes, offsets
from vfi.networks.standstill import Standstill


@dataclass(frozen=True)
class ScoredFlow:
    """A flow from one frame to the other, (B, 2, H, W), its splatting metric, (B, 1, H, W), and 1 where a pixel stands
    still, (B, 1, H, W), if that was looked for: there the flow is 0."""

    flow: Tensor
    metric: Tensor
    still: Tensor | None = None


@dataclass(frozen=True)
class MotionAt:
    """Motion from frame 0 to frame 1 of what is at a time, by either frame's flow: (B, 2, H, W) each, in pixels; and
    where a pixel of frame 0 and of frame 1 lands, bool (B, 1, H, W)."""

    first: Tensor
    second: Tensor
    seen0: Tensor
    seen1: Tensor

    @property
    def seen(self) -> Tensor:
        """Both as one map, (B, 2, H, W) of 0 and 1."""
        return torch.cat((self.seen0, self.seen1), 1).to(self.first.dtype)


def scored(
    there: Tensor, back: Tensor, frame0: Tensor, frame1: Tensor, colour: float, place: float, step: int = 1,
    standstill: Standstill | None = None,
) -> tuple[ScoredFlow, ScoredFlow]:  # fmt: skip
    """Flows from frame 0 to frame 1 and back, with metrics -(colour * |frame - warped other frame| + place * |flow
    there and back|): 0 is perfect, the more negative the worse. What leaves the picture cannot be matched: there the
    flow becomes that of the surroundings. Metrics are found at every `step`-th pixel, and the same for its
    neighbours. standstill: of the frames, to find what stands still in front of what moves; its flow becomes 0."""
    flow01, flow10 = (fill_holes(flow, inside(flow)) for flow in (there, back))
    still0 = still1 = None
    if standstill is not None:
        still0, still1 = standstill.in_frame0(flow01), standstill.in_frame1(flow10)
        flow01, flow10 = flow01 * (1 - still0), flow10 * (1 - still1)

    def metric(frame: Tensor, other: Tensor, flow: Tensor, flow_back: Tensor) -> Tensor:
        height, width = flow.shape[2:]
        some = flow[:, :, ::step, ::step]
        places = offsets(slice(0, some.shape[2]), some.shape[3], step, flow) + some
        colour_error = vk.backward_warp(other, places).sub_(frame[:, :, ::step, ::step]).abs_().mean(1, keepdim=True)
        return_error = vk.backward_warp(flow_back, places).add_(some).abs_().sum(1, keepdim=True)
        found = -(colour * colour_error + place * return_error)
        return F.interpolate(found, scale_factor=step, mode="nearest")[..., :height, :width].contiguous()

    return (
        ScoredFlow(flow01, metric(frame0, frame1, flow01, flow10), still0),
        ScoredFlow(flow10, metric(frame1, frame0, flow10, flow01), still1),
    )


def motion_at(pair: tuple[ScoredFlow, ScoredFlow], t: Tensor) -> MotionAt:
    """t: (B, 1, 1, 1)."""
    (first, seen0), (second, seen1) = _splatted(pair[0], t), _splatted(pair[1], 1 - t)
    second = -second
    filled = fill_holes(_either(seen0, first, second), seen0 | seen1)
    return MotionAt(filled, _either(seen1, second, filled), seen0, seen1)


def _either(which: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """torch.where for finite values and a mask of one channel, in a tenth of its time."""
    return second.lerp(first, which.to(first.dtype))


def inside(flow: Tensor) -> Tensor:
    """Where the position that `flow` points to lies inside the picture, bool (B, 1, H, W)."""
    valid: Tensor = vk.backward_warp(flow[:, :0], flow, return_validity=True)[1]
    return valid


def _splatted(scored: ScoredFlow, t: Tensor) -> tuple[Tensor, Tensor]:
    """The flow carried by itself to time t, and where anything landed: there a channel of ones is 1."""
    ones = torch.ones_like(scored.metric)
    # 2 for what stands still: where it weighs more than half, it is what is seen.
    counts = ones if scored.still is None else ones + scored.still
    carried = vk.splat(torch.cat([scored.flow, counts], 1), t * scored.flow, scored.metric, mode="softmax")
    flow, count = carried[:, :2], carried[:, 2:]
    if scored.still is not None:
        flow *= (count < 1.5).to(flow.dtype)
    return flow, count > 0.5
