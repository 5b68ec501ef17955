"""Frames between two frames from optical flow both ways: splatting of the flow, warping, blending of candidates.

1. Each flow is splatted to time t. Where several pixels land on one, the softmax metric prefers those whose flow
   explains the other frame: metric = -(metric_scale * |frame - warped other frame| + consistency_scale * |flow there
   and back|).
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
from vfi.networks.resampling import doubled, fill_holes, local_mean, warp, warp_doubled


@dataclass(frozen=True)
class BlendConfig:
    """Frames are in [0, 1], flow in pixels.

    by_coverage: a frame counts by how much of it lands on a pixel of time t: little where the scene opens, such as
    behind a moving thing, whose surroundings are there in one frame only.
    """

    metric_scale: float = 20.0
    consistency_scale: float = 1.0
    sharpness: float = 60.0
    by_coverage: bool = False


@dataclass(frozen=True)
class _ScoredFlow:
    """A flow from one frame to the other, [B, 2, H, W], and its splatting metric, [B, 1, H, W]."""

    flow: Tensor
    metric: Tensor


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
        pairs = self._motions(first, second)
        fine0, fine1 = doubled(first), doubled(second)
        results = []
        for t in times:
            if t in (0, 1):
                results.append((frame1 if t else frame0).clone())
                continue
            results.append(self._between(pairs, fine0, fine1, t).to(frame0.dtype))
        return results

    def traced(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> Tensor:
        first, second = frame0.float(), frame1.float()
        pairs = self._motions(first, second)
        return self._between(pairs, doubled(first), doubled(second), t.reshape(-1, 1, 1, 1))

    def _between(
        self, pairs: list[tuple[_ScoredFlow, _ScoredFlow]], fine0: Tensor, fine1: Tensor, t: float | Tensor
    ) -> Tensor:
        """The frame at t: a number, or (B, 1, 1, 1)."""
        candidates = [candidate for pair in pairs for candidate in self._candidates(pair, t)]
        return self._blend(fine0, fine1, candidates, t).clamp(0, 1)

    @torch.no_grad()
    def explain(self, frame0: Tensor, frame1: Tensor, t: float) -> SplatExplanation:
        """The flow seen at t and which frame each pixel is seen in, from the first of the flows."""
        sized_inference.check_frames(frame0, frame1, self.device)
        t = sized_inference.time_of(t)
        flow0, flow1, seen0, seen1 = _flows_at(self._motions(frame0.float(), frame1.float())[0], t)
        return SplatExplanation(torch.where(seen0, flow0, flow1), seen0, seen1)

    def _motions(self, frame0: Tensor, frame1: Tensor) -> list[tuple[_ScoredFlow, _ScoredFlow]]:
        """Per pair of flows, the motion from frame 0 to 1 and from 1 to 0."""
        pairs = []
        for pair in self.flows(frame0, frame1):
            # What leaves the picture cannot be matched: there the flow is that of the surroundings.
            flow01, flow10 = (fill_holes(f, _inside(f)) for f in pair)
            metric0 = self._metric(frame0, frame1, flow01, flow10)
            metric1 = self._metric(frame1, frame0, flow10, flow01)
            pairs.append((_ScoredFlow(flow01, metric0), _ScoredFlow(flow10, metric1)))
        return pairs

    def _metric(self, frame: Tensor, other: Tensor, flow: Tensor, flow_back: Tensor) -> Tensor:
        """How well `flow` explains `other`: 0 is perfect, the more negative the worse."""
        colour_error = (warp(other, flow) - frame).abs().mean(1, keepdim=True)
        return_error = (flow + warp(flow_back, flow)).abs().sum(1, keepdim=True)
        return -(self.config.metric_scale * colour_error + self.config.consistency_scale * return_error)

    def _candidates(self, pair: tuple[_ScoredFlow, _ScoredFlow], t: float | Tensor) -> list[_Candidate]:
        """By the flow of frame 0, and by that of frame 1."""
        coverage0, coverage1 = (
            _coverage(motion.flow, time) if self.config.by_coverage else torch.ones(())
            for motion, time in zip(pair, (t, 1 - t))
        )
        return [_Candidate(flow, coverage0, coverage1) for flow in _flows_at(pair, t)[:2]]

    def _blend(self, fine0: Tensor, fine1: Tensor, candidates: Sequence[_Candidate], t: float | Tensor) -> Tensor:
        """Both frames warped to t along each candidate flow; candidates weighted by how well the two agree."""
        numerator, denominator = torch.zeros(()), torch.zeros(())
        warped0: Tensor | None = None  # made for the first candidate, written for the others
        warped1: Tensor | None = None
        for candidate in candidates:
            to0, to1 = -t * candidate.flow, (1 - t) * candidate.flow
            warped0, warped1 = warp_doubled(fine0, to0, warped0), warp_doubled(fine1, to1, warped1)
            # The frame in which the point lies outside counts only where both do.
            weight0 = (1 - t) * (_inside(to0) * candidate.coverage0 + 1e-3)
            weight1 = t * (_inside(to1) * candidate.coverage1 + 1e-3)
            colour = (weight0 * warped0 + weight1 * warped1) / (weight0 + weight1)
            difference = local_mean((warped0 - warped1).abs().mean(1, keepdim=True))
            # The limit keeps exp away from underflow, so that the sum of the weights is never 0.
            weight = torch.exp(-(self.config.sharpness * difference).clamp(max=60))
            numerator, denominator = numerator + weight * colour, denominator + weight
        return numerator / denominator


def _flows_at(pair: tuple[_ScoredFlow, _ScoredFlow], t: float | Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Motion from frame 0 to frame 1 of what is seen at t, by either frame's flow, and where each is known."""
    (flow0, seen0), (flow1, seen1) = _splatted(pair[0], t), _splatted(pair[1], 1 - t)
    flow1 = -flow1
    either = seen0 | seen1
    filled0 = fill_holes(torch.where(seen0, flow0, flow1), either)
    return filled0, torch.where(seen1, flow1, filled0), seen0, seen1


def _splatted(motion: _ScoredFlow, t: float | Tensor) -> tuple[Tensor, Tensor]:
    """The flow carried by itself to time t, and where anything landed."""
    flow, log_weight = vk.splat(motion.flow, t * motion.flow, motion.metric, mode="softmax", return_weight=True)
    return flow, log_weight > -torch.inf


def _coverage(flow: Tensor, t: float | Tensor) -> Tensor:
    """How much of a frame lands on each pixel at time t, at most 1: [B, 1, H, W]."""
    return vk.splat(torch.ones_like(flow[:, :1]), t * flow, mode="sum").clamp(max=1)


def _inside(flow: Tensor) -> Tensor:
    """Where the position that `flow` points to lies inside the image, bool [B, 1, H, W]."""
    return vk.backward_warp(flow[:, :0], flow, return_validity=True)[1]
