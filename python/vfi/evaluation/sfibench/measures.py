"""Measures of videos: (N, 3, H, W) uint8 RGB each."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from vfi.evaluation import metrics
from vfi.models.flow_by_name import Flow

RATE = 8  # frames per second that motion is looked for at
LARGEST = 0.05  # of the pixels of a flow
Between = Callable[[Tensor, Tensor], Tensor]  # two (1, 3, H, W) in [0, 1] -> the frame in the middle


def flickering(frames: Tensor) -> float:
    """1 less the mean absolute difference of consecutive frames, of 255: 1 for a video that stands still.

    VBench's temporal flickering.
    """
    apart = [difference(first, second) for first, second in pairwise(frames)]
    return (255 - float(np.mean(apart))) / 255


def smoothness(frames: Tensor, between: Between) -> float:
    """1 less the mean absolute difference, of 255, of every second frame from the middle of its neighbours.

    VBench's motion smoothness, where AMT-S makes the middle, which becomes bytes without rounding, as there. Of an even
    number of frames the last is left out.
    """
    apart = []
    for first, truth, second in zip(frames[:-2:2], frames[1:-1:2], frames[2::2]):
        made = between(*(frame[None].float() / 255 for frame in (first, second)))[0]
        apart.append(difference((made.float() * 255).clamp(0, 255).byte().cpu(), truth))
    return (255 - float(np.mean(apart))) / 255


def moves(frames: Tensor, fps: float, flow: Flow) -> bool:
    """Whether enough moves fast enough: at about 8 frames per second, in a quarter of the frames.

    VBench's dynamic degree of a video, where RAFT finds the flow: every round(fps / 8)-th frame; the mean length of the
    5 % largest vectors between each and the next must be above 6 / 256 of the shorter side, for round(n / 4) pairs of
    the n frames. Here at least one pair: of one or two frames VBench asks for none.
    """
    chosen = frames[:: max(1, round(fps / RATE))]
    bound = 6.0 * min(frames.shape[2:]) / 256
    fast = [fastest(first, second, flow) > bound for first, second in pairwise(chosen)]
    return sum(fast) >= max(1, round(4 * (len(chosen) / 16)))


def fastest(first: Tensor, second: Tensor, flow: Flow) -> float:
    """Mean length of the 5 % largest vectors, in pixels."""
    lengths = flow(*(frame[None].float() / 255 for frame in (first, second)))[0].norm(dim=0).flatten()
    return float(lengths.topk(max(1, int(len(lengths) * LARGEST))).values.mean())


def difference(first: Tensor, second: Tensor) -> float:
    """Mean absolute difference of two uint8 frames, 0 to 255."""
    return float((first.short() - second.short()).abs().double().mean())


def ends(made: Tensor, truth: Tensor) -> list[metrics.Quality]:
    """How near the first and the last frame are to those given."""
    pictures = [[video[i].permute(1, 2, 0).cpu().numpy() for video in (made, truth)] for i in (0, -1)]
    return [metrics.compare(result, wanted) for result, wanted in pictures]


def in_parts(function: Callable[..., Tensor], videos: Sequence[Tensor], device: str, size: int = 8) -> Tensor:
    """A function of frames (B, 3, H, W) in [0, 1], for all frames of one or several uint8 videos, a few at a time."""
    parts = [
        function(*(video[i : i + size].to(device).float() / 255 for video in videos)).cpu()
        for i in range(0, len(videos[0]), size)
    ]
    return torch.cat(parts)


def to_bytes(frames: Tensor) -> Tensor:
    return (frames.float().clamp(0, 1) * 255).round().byte()
