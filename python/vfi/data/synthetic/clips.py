"""Clips of random scenes: frames at many times, and where the points of the first and the last one are at each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vfi.data.synthetic.random_motion import MotionName
from vfi.data.synthetic.triplets import LAYERS, MAX_MOTION, SIZE, random_scene
from vfi.errors import ArgumentError
from vfi.options import converted, whole


@dataclass(frozen=True)
class Clip:
    """Frames of a scene and its exact trajectories.

    Attributes:
        frames: (N, 3, H, W) float32 RGB in [0, 1], at `times`.
        times: N times in [0, 1].
        flow: (2, N, 2, H, W) float32 px, x first: from the pixels of the frame at time 0 to their points at each time,
            then from those of the frame at time 1. `flow[0]` are keyframes for `vfi_kernels.sample_trajectory` if the
            times are even.
        visible: (2, N, H, W) bool: whether that point is then seen: in the picture and not covered.
    """

    frames: Tensor
    times: tuple[float, ...]
    flow: Tensor
    visible: Tensor


def clip(
    seed: int,
    size: tuple[int, int] = SIZE,
    times: int | Sequence[float] = 9,
    *,
    motion: MotionName = "mixed",
    max_motion: float = MAX_MOTION,
    layers: int = LAYERS,
    photographs: bool = False,
) -> Clip:
    """Frames and trajectories of the scene that `random_scene` makes of these arguments.

    The same arguments give the same bytes, whatever the number of threads and the state of other random generators.

    Args:
        times: in [0, 1]; or how many, 2 or more, in even steps from 0 to 1.

    Raises:
        ArgumentError: if an argument is out of its range.
        UserError: if photographs are wanted and scikit-image is missing.
    """
    moments = tuple(times) if isinstance(times, Sequence) and not isinstance(times, str) else even_times(times)
    numbers = [converted(float, moment) for moment in moments]
    if not moments or any(number is None or not 0 <= number <= 1 for number in numbers):
        raise ArgumentError(f"expected `times` in [0, 1], got {', '.join(map(str, moments)) or 'none'}")
    scene = random_scene(seed, size, max_motion=max_motion, layers=layers, photographs=photographs, motion=motion)
    flow, visible = zip(*(scene.track(end, moments) for end in (0.0, 1.0)))
    frames = torch.stack([scene.frame(moment) for moment in moments])
    return Clip(frames, moments, torch.stack(flow), torch.stack(visible))


def even_times(count: object) -> tuple[float, ...]:
    """So many times from 0 to 1."""
    count = whole("times", count, 2)
    return tuple(i / (count - 1) for i in range(count))
