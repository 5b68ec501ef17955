"""A made-up sample: three frames of a random scene, the flow between them, and what a camera makes of them."""

from dataclasses import dataclass

import numpy as np
import torch

from data_steps.degradations import degraded
from data_steps.pictures import Pictures
from data_steps.random_scene import random_scene
from vfi.data.synthetic.scene import Scene

SIZE = 256
STILL = 0.5  # px that more than a tenth of the picture moves, or it counts as still
KEPT = 0.15  # of the still ones
BLURS = 5  # moments for which the shutter is open


@dataclass(frozen=True)
class Sample:
    """
    Attributes:
        frames: (3, H, W, 3) uint8 RGB at the times 0, `time` and 1.
        flow: (4, H, W) float16 px from the frame at `time` to frame 0 (x, y), then to frame 1; NaN where unknown.
        visible: (2, H, W) uint8: 1 where what the pixel shows is seen in frame 0, and in frame 1.
    """

    frames: np.ndarray
    time: float
    flow: np.ndarray
    visible: np.ndarray


def made_up(rng: np.random.Generator, pictures: Pictures, size: int = SIZE, degrade: bool = True) -> Sample:
    """The same for the same state of `rng`; without `degrade`, frames are the scene's, rounded."""
    time = 0.5 if rng.random() < 0.5 else float(rng.random())
    scene, flow, visible = moving_scene(rng, size, pictures, time)
    shutter = rng.uniform(0.1, 0.6) if rng.random() < 0.15 else 0.0
    frames = np.stack([exposed(scene, moment, shutter) for moment in (0.0, time, 1.0)])
    light = rng.random() < 0.12
    gain, spread = rng.normal() * 0.08 * light, rng.normal(size=3) * 0.02 * light * (rng.random() < 0.3)
    steps = np.array([0, time, 1]) - time
    frames = frames * (1 + gain * steps + spread).astype(np.float32)[:, None, None, None]
    frames = degraded(rng, frames) if degrade else np.rint(frames.clip(0, 1) * 255).astype(np.uint8)
    return Sample(frames, time, flow.flatten(0, 1).to(torch.float16).numpy(), visible.numpy().astype(np.uint8))


def moving_scene(
    rng: np.random.Generator, size: int, pictures: Pictures, time: float
) -> tuple[Scene, torch.Tensor, torch.Tensor]:
    """A scene, with flow and visibility from `time`; few are such that hardly anything moves."""
    while True:
        scene = random_scene(rng, size, pictures)
        flow, visible = scene.track(time, (0.0, 1.0))
        way = (flow[1] - flow[0])[:, ::4, ::4].norm(dim=0)
        if way.quantile(0.9) > STILL or rng.random() < KEPT:
            return scene, flow, visible


def exposed(scene: Scene, time: float, shutter: float) -> np.ndarray:
    """The frame at `time`, (H, W, 3): the mean over the time for which the shutter is open."""
    moments = time + shutter * (np.arange(BLURS) / (BLURS - 1) - 0.5) if shutter else [time]
    frame = torch.stack([scene.frame(float(moment)) for moment in moments]).mean(0)
    return frame.permute(1, 2, 0).numpy()
