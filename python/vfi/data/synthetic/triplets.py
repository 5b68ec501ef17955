"""Random scenes and triplets of them, the same for the same seed."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vfi.data.synthetic.random_motion import MIXED, MOTIONS, MotionName, random_motion
from vfi.data.synthetic.scene import Layer, Scene
from vfi.data.synthetic.shapes import inwards, outline
from vfi.data.synthetic.textures import texture
from vfi.errors import ArgumentError
from vfi.options import converted, whole

SIZE, MAX_MOTION, LAYERS = (256, 448), 24.0, 4
_DENSITY = 1.5  # texels per px
_SMALLEST = 16


@dataclass(frozen=True)
class Triplet:
    """Three frames of a scene and the motion from the one between to the others.

    Attributes:
        frames: (3, 3, H, W) float32 RGB in [0, 1], at the times 0, `time` and 1.
        flow: (4, H, W) float32 px from the frame at `time` to frame 0 (x, y), then to frame 1 (x, y), of what each
            pixel shows; where it is visible, `backward_warp` of frame 0 by `flow[:2]` rebuilds the frame at `time`.
        visible: (2, H, W) bool: whether what the pixel shows is seen in frame 0, and in frame 1: in the picture and not
            covered.
        time: of the frame between, in [0, 1].
    """

    frames: Tensor
    flow: Tensor
    visible: Tensor
    time: float


def triplet(
    seed: int,
    size: tuple[int, int] = SIZE,
    *,
    max_motion: float = MAX_MOTION,
    time: float = 0.5,
    layers: int = LAYERS,
    photographs: bool = False,
    motion: MotionName = "uniform",
) -> Triplet:
    """Frames at 0, `time` and 1 of the scene that `random_scene` makes of these arguments.

    The same arguments give the same bytes, whatever the number of threads and the state of other random generators.

    Raises:
        ArgumentError: if an argument is out of its range.
        UserError: if photographs are wanted and scikit-image is missing.
    """
    moment = converted(float, time)
    if moment is None or not 0 <= moment <= 1:
        raise ArgumentError(f"expected `time` in [0, 1], got {time!r}")
    scene = random_scene(seed, size, max_motion=max_motion, layers=layers, photographs=photographs, motion=motion)
    flow, visible = scene.track(time, (0.0, 1.0))
    frames = torch.stack([scene.frame(moment) for moment in (0.0, time, 1.0)])
    return Triplet(frames, flow.flatten(0, 1), visible, time)


def random_scene(
    seed: int,
    size: tuple[int, int] = SIZE,
    *,
    max_motion: float = MAX_MOTION,
    layers: int = LAYERS,
    photographs: bool = False,
    motion: MotionName = "uniform",
) -> Scene:
    """A background and `layers` - 1 objects in front of it, each with a motion of its own, for times in [0, 1].

    Args:
        seed: 0 or more.
        size: height and width in pixels, at least 16 each.
        max_motion: px; nothing moves further than this from time 0 to time 1, or, unless the motion is "uniform",
            between any two times in [0, 1].
        layers: 1 or more; 1 is the background alone.
        photographs: use those inside scikit-image beside procedural textures.
        motion: of each layer as a whole; only "uniform" ones also change their shape.
            "uniform": positions, angles, logarithms of scales, shears and the strength of waves change at constant
            rates. "accelerated": every point's position is a quadratic of time. "rotation": points move at constant
            speed on circles, by 60 to 180 degrees: around one centre, or, of a layer that is too large for that, each
            around its own, so that the layer does not turn. "oscillation": points move on ellipses or to and fro, half
            a period to one and a half. "mixed": any of these, by layer.

    Raises:
        ArgumentError: if an argument is out of its range.
        UserError: if photographs are wanted and scikit-image is missing.
    """
    whole("seed", seed, 0)
    whole("layers", layers, 1)
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ArgumentError(f"expected `size` to be a height and a width, got {size!r}")
    for side in size:
        whole("size", side, _SMALLEST)
    longest = converted(float, max_motion)
    if longest is None or not 0 <= longest < math.inf:
        raise ArgumentError(f"expected `max_motion` of 0 px or more, got {max_motion!r}")
    if motion not in (*MOTIONS, MIXED):
        raise ArgumentError(f"expected `motion` {', '.join(MOTIONS)} or {MIXED}, got {motion!r}")
    rng = np.random.default_rng(seed)
    background = _background(rng, size, max_motion, photographs, motion)
    objects = [_object(rng, size, max_motion, photographs, motion) for _ in range(layers - 1)]
    return Scene((background, *objects), (size[0], size[1]))


def _background(
    rng: np.random.Generator, size: tuple[int, int], max_motion: float, photographs: bool, kind: MotionName
) -> Layer:
    height, width = size
    margin = min(max_motion / 2, 64) + 4
    sides = [math.ceil(_DENSITY * (length + 2 * margin)) for length in size]
    picture = texture(rng, *sides, photographs=photographs)
    half = (width / 2 + max_motion, height / 2 + max_motion)
    motion = random_motion(rng, (width / 2, height / 2), half, max_motion, kind)
    return Layer(motion, torch.from_numpy(picture).movedim(2, 0).contiguous(), _DENSITY)


def _object(
    rng: np.random.Generator, size: tuple[int, int], max_motion: float, photographs: bool, kind: MotionName
) -> Layer:
    height, width = size
    radius = math.sqrt(height * width) * math.exp(rng.uniform(math.log(0.07), math.log(0.35)))
    softness = 1 / _DENSITY if rng.random() < 0.7 else rng.uniform(1, 2 + radius / 8)
    half = radius + softness + 2
    side = math.ceil(2 * _DENSITY * half)
    picture = texture(rng, side, side, photographs=photographs)
    inside = inwards(outline(rng, radius), side, side, _DENSITY)
    opacity = 0.5 + inside / np.float32(softness)
    pixels = np.concatenate((picture, opacity[..., None].clip(-4, 4)), axis=2)
    centre = rng.uniform(0, width), rng.uniform(0, height)
    motion = random_motion(rng, centre, (half, half), max_motion, kind)
    return Layer(motion, torch.from_numpy(pixels).movedim(2, 0).contiguous(), _DENSITY)
