"""Frames between two frames from optical flow both ways: splatting of the flow, warping, blending of candidates.

1. Each flow is splatted to time t. Where several pixels land on one, the softmax metric prefers those whose flow
   explains the other frame: metric = -(metric_scale * |frame - warped other frame| + consistency_scale * |flow there
   and back|). What stands still in front of what moves is found first (vfi.networks.standstill): it stays in place,
   and where it outweighs what lands on it, it is what is seen.
2. Every splatted flow (holes filled from the opposite flow, then from their surroundings) is a candidate: both frames
   are warped back to t along it and blended by time, using only the frame in which the point is visible.
3. Candidates are averaged with weights exp(-sharpness * local difference of the two warped frames).

Source: Niklaus and Liu, Softmax Splatting for Video Frame Interpolation, CVPR 2020 (the splatting and its metric).
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import vfi_kernels as vk
from vfi.drawing.panels import Panel, flow_panel, holes_panel
from vfi.models.interpolator import Explanation, Interpolator
from vfi.networks import sized_inference
from vfi.networks.layers import softmax
from vfi.networks.motion_at import ScoredFlow, motion_at, scored
from vfi.networks.resampling import block_means, doubled, mean_around, offsets, spread, strips
from vfi.networks.seen_frames import SeenFrames
from vfi.networks.standstill import Standstill


@dataclass(frozen=True)
class BlendConfig:
    """Frames are in [0, 1], flow in pixels.

    by_coverage: a frame counts by how much of it lands on a pixel of time t: little where the scene opens, such as
    behind a moving thing, whose surroundings are there in one frame only.
    keep_still: what stands still in front of what moves is looked for, and stays.
    """

    metric_scale: float = 20.0
    consistency_scale: float = 1.0
    sharpness: float = 60.0
    by_coverage: bool = False
    keep_still: bool = True


@dataclass(frozen=True)
class _Candidate:
    """Motion from frame 0 to frame 1 of what is at t, [B, 2, H, W], and how far either frame counts, [B, 1, H, W]."""

    flow: Tensor
    coverage0: Tensor
    coverage1: Tensor


@dataclass(frozen=True)
class SplatExplanation(Explanation):
    """What stands behind an interpolated frame, for pictures."""

    flow: Tensor  # (B, 2, H, W): motion from frame 0 to frame 1 of what is seen at t
    seen0: Tensor  # bool (B, 1, H, W): a pixel of frame 0 lands here
    seen1: Tensor

    def panels(self) -> list[Panel]:
        holes = (seen[0, 0].cpu().numpy() for seen in (self.seen0, self.seen1))
        return [flow_panel(self.flow[0].permute(1, 2, 0).float().cpu().numpy()), holes_panel(*holes)]


class SplatModel(Interpolator):
    """Frames between two frames, at any time in [0, 1], from the flows that a subclass finds."""

    config: BlendConfig
    device: torch.device | None = None  # where a network is, if frames must be there

    def __init__(self) -> None:
        self._doubled = SeenFrames[Tensor]()

    @abstractmethod
    def flows(self, frame0: Tensor, frame1: Tensor) -> list[tuple[Tensor, Tensor]]:
        """One or more pairs of flow, from frame 0 to 1 and from 1 to 0: (B, 2, H, W) each, in pixels.

        frame0, frame1: float32 (B, 3, H, W).
        """

    def interpolate(self, frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        """The frame at time t, where frame 0 is at 0 and frame 1 at 1.

        Args:
            frame0, frame1: (B, 3, H, W), in [0, 1], any float dtype.
            t: in [0, 1]; 0 and 1 return the frames themselves.

        Returns:
            (B, 3, H, W) in [0, 1], of the frames' dtype. No gradient.
        """
        return self.interpolate_many(frame0, frame1, [sized_inference.time_of(t)])[0]

    @torch.no_grad()
    def interpolate_many(self, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[Tensor]:
        """`interpolate` at several times; the optical flow is found once."""
        sized_inference.check_frames(frame0, frame1, self.device)
        times = sized_inference.several_times(times)
        if all(t in (0, 1) for t in times):
            return [(frame1 if t else frame0).clone() for t in times]
        first, second = frame0.float(), frame1.float()
        pairs = self.motions(first, second)
        fine0, fine1 = (self._doubled.of(frame, doubled) for frame in (first, second))
        return [
            (frame1 if t else frame0).clone()
            if t in (0, 1)
            else self.between(pairs, fine0, fine1, first.new_full((1, 1, 1, 1), t)).to(frame0.dtype)
            for t in times
        ]

    def traced(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> Tensor:
        first, second = frame0.float(), frame1.float()
        pairs = self.motions(first, second)
        return self.between(pairs, doubled(first), doubled(second), t.reshape(-1, 1, 1, 1))

    def between(self, pairs: list[tuple[ScoredFlow, ScoredFlow]], fine0: Tensor, fine1: Tensor, t: Tensor) -> Tensor:
        """The frame at t, (B, 1, 1, 1), by `motions` of two frames, and the frames, doubled."""
        candidates = [candidate for pair in pairs for candidate in self._candidates(pair, t)]
        return self._blend(fine0, fine1, candidates, t)

    @torch.no_grad()
    def explain(self, frame0: Tensor, frame1: Tensor, t: float) -> SplatExplanation:
        """The flow seen at t and which frame each pixel is seen in, from the first of the flows."""
        sized_inference.check_frames(frame0, frame1, self.device)
        first, second = frame0.float(), frame1.float()
        time = first.new_full((1, 1, 1, 1), sized_inference.time_of(t))
        found = motion_at(self.motions(first, second)[0], time)
        return SplatExplanation(torch.where(found.seen0, found.first, found.second), found.seen0, found.seen1)

    def motions(self, frame0: Tensor, frame1: Tensor) -> list[tuple[ScoredFlow, ScoredFlow]]:
        """Per pair of flows, the motion from frame 0 to 1 and from 1 to 0."""
        colour, place = self.config.metric_scale, self.config.consistency_scale
        # At every second pixel: pictures are as good, in a quarter of the time.
        still = Standstill(frame0, frame1) if self.config.keep_still else None
        return [scored(*pair, frame0, frame1, colour, place, 2, still) for pair in self.flows(frame0, frame1)]

    def _candidates(self, pair: tuple[ScoredFlow, ScoredFlow], t: Tensor) -> list[_Candidate]:
        """By the flow of frame 0, and by that of frame 1."""
        coverage0, coverage1 = (
            _coverage(motion.flow, time)
            if self.config.by_coverage
            else motion.metric.new_ones(()).expand_as(motion.metric)
            for motion, time in zip(pair, (t, 1 - t))
        )
        motion = motion_at(pair, t)
        return [_Candidate(flow, coverage0, coverage1) for flow in (motion.first, motion.second)]

    def _blend(self, fine0: Tensor, fine1: Tensor, candidates: Sequence[_Candidate], t: Tensor) -> Tensor:
        """Both frames warped to t along each candidate flow; candidates weighted by how well the two agree."""
        height, width = candidates[0].flow.shape[2:]
        parts = strips(candidates[0].flow)
        made = []
        for rows in parts:
            grid = offsets(rows, width, 2, candidates[0].flow)
            made.append([_along(candidate, fine0, fine1, grid, rows, t) for candidate in candidates])
        differences = torch.cat([torch.cat([difference for _, difference in row], 1) for row in made], 2)
        blocks = softmax(-self.config.sharpness * mean_around(differences), 1)
        weights = spread(blocks, height, width)
        results = []
        for rows, row in zip(parts, made):
            first, *others = weights[:, :, rows].split(1, 1)
            total = row[0][0].mul_(first)
            for (colour, _), weight in zip(row[1:], others):
                total.addcmul_(colour, weight)
            results.append(total.clamp_(0, 1))
        return torch.cat(results, 2)


def _along(
    candidate: _Candidate, fine0: Tensor, fine1: Tensor, grid: Tensor, rows: slice, t: Tensor
) -> tuple[Tensor, Tensor]:
    """Some rows of the frames, which are doubled, warped to t: blended by time, and how far they differ, in blocks."""
    flow = candidate.flow[:, :, rows]
    warped0, inside0 = vk.backward_warp(fine0, torch.addcmul(grid, flow, -2 * t), return_validity=True)
    warped1, inside1 = vk.backward_warp(fine1, torch.addcmul(grid, flow, 2 - 2 * t), return_validity=True)
    # The frame in which the point lies outside counts only where both do.
    weight0 = (inside0 * candidate.coverage0[:, :, rows] + 1e-3) * (1 - t)
    weight1 = (inside1 * candidate.coverage1[:, :, rows] + 1e-3) * t
    difference = block_means((warped0 - warped1).abs_().mean(1, keepdim=True))
    return warped0.lerp_(warped1, weight1 / (weight0 + weight1)), difference


def _coverage(flow: Tensor, t: Tensor) -> Tensor:
    """How much of a frame lands on each pixel at time t, at most 1: [B, 1, H, W]."""
    return vk.splat(torch.ones_like(flow[:, :1]), t * flow, mode="sum").clamp(max=1)
