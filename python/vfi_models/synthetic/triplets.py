"""Random scenes and triplets of them, the same for the same seed."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vfi_models.errors import UserError
from vfi_models.synthetic.motion import Motion, Uniform, Waves
from vfi_models.synthetic.scene import Layer, Scene
from vfi_models.synthetic.shapes import inwards, outline
from vfi_models.synthetic.textures import texture

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
) -> Triplet:
    """Frames at 0, `time` and 1 of the scene that `random_scene` makes of these arguments.

    The same arguments give the same bytes, whatever the number of threads and the state of other random generators.

    Raises:
        UserError: if an argument is out of its range, or if photographs are wanted and scikit-image is missing.
    """
    if not 0 <= time <= 1:
        raise UserError(f"expected a time in [0, 1], got {time:g}")
    scene = random_scene(seed, size, max_motion=max_motion, layers=layers, photographs=photographs)
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
) -> Scene:
    """A background and `layers` - 1 objects in front of it, each with a motion of its own, for times in [0, 1].

    Positions, angles, logarithms of scales, shears and the strength of waves change at constant rates.

    Args:
        seed: 0 or more.
        size: height and width in pixels, at least 16 each.
        max_motion: px; nothing moves further than this from time 0 to time 1.
        layers: 1 or more; 1 is the background alone.
        photographs: use those inside scikit-image beside procedural textures.

    Raises:
        UserError: if an argument is out of its range, or if photographs are wanted and scikit-image is missing.
    """
    if seed < 0:
        raise UserError(f"expected a seed of 0 or more, got {seed}")
    if min(size) < _SMALLEST:
        raise UserError(f"expected a size of at least {_SMALLEST}x{_SMALLEST} pixels, got {size[0]}x{size[1]}")
    if not 0 <= max_motion < math.inf:
        raise UserError(f"expected a max_motion of 0 px or more, got {max_motion:g}")
    if layers < 1:
        raise UserError(f"expected at least 1 layer, got {layers}")
    rng = np.random.default_rng(seed)
    background = _background(rng, size, max_motion, photographs)
    objects = [_object(rng, size, max_motion, photographs) for _ in range(layers - 1)]
    return Scene((background, *objects), (size[0], size[1]))


def _background(rng: np.random.Generator, size: tuple[int, int], max_motion: float, photographs: bool) -> Layer:
    height, width = size
    margin = min(max_motion / 2, 64) + 4
    sides = [math.ceil(_DENSITY * (length + 2 * margin)) for length in size]
    picture = texture(rng, *sides, photographs=photographs)
    half = (width / 2 + max_motion, height / 2 + max_motion)
    motion = _motion(rng, (width / 2, height / 2), half, max_motion)
    return Layer(motion, torch.from_numpy(picture).movedim(2, 0).contiguous(), _DENSITY)


def _object(rng: np.random.Generator, size: tuple[int, int], max_motion: float, photographs: bool) -> Layer:
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
    motion = _motion(rng, centre, (half, half), max_motion)
    return Layer(motion, torch.from_numpy(pixels).movedim(2, 0).contiguous(), _DENSITY)


def _motion(
    rng: np.random.Generator, centre: tuple[float, float], half: tuple[float, float], max_motion: float
) -> Motion:
    """A random motion; no point of the layer within `half` of its middle moves further than `max_motion` px."""
    waves = _waves(rng, 2 * math.sqrt(half[0] * half[1]))
    farthest = max_motion * rng.uniform(0.1, 1) ** 1.5 * (rng.random() < 0.95)
    distance, direction = farthest * rng.uniform(0.3, 1), rng.uniform(0, 2 * np.pi)
    rates = [distance * math.cos(direction), distance * math.sin(direction)]
    rates += [rng.normal() * deviation * (rng.random() < 0.7) for deviation in (0.12, 0.08, 0.05)]
    rates += [rng.uniform(-1, 1) * (rng.random() < 0.7)]
    bend = rng.uniform(-0.5, 0.5)
    side = np.linspace(-1, 1, 33)
    points = np.stack(np.meshgrid(side * half[0], side * half[1])).reshape(2, -1)
    factor = float(farthest > 0)
    while True:
        values = zip((*centre, 0.0, 0.0, 0.0, bend), (factor * rate for rate in rates))
        x, y, angle, zoom, shear, strength = (Uniform(middle, rate) for middle, rate in values)
        motion = Motion(x, y, angle, zoom, shear, strength, waves)
        moved = np.linalg.norm(motion.to_frame(points, 1) - motion.to_frame(points, 0), axis=0).max()
        # A little less than allowed: between these points it may be a little more.
        if moved <= 0.99 * farthest:
            return motion
        factor *= 0.98 * farthest / moved


def _waves(rng: np.random.Generator, span: float) -> Waves:
    """Two waves about as long as the layer, and together flat enough for every bend in [-1, 1]."""
    lengths, directions = span * rng.uniform(0.6, 2, 2), rng.uniform(0, 2 * np.pi, (2, 2))
    numbers = 2 * np.pi / lengths * np.stack((np.cos(directions[0]), np.sin(directions[0])))
    sizes = rng.uniform(0.02, 0.15, 2) * lengths / (2 * np.pi)
    amplitudes = sizes * np.stack((np.cos(directions[1]), np.sin(directions[1])))
    return Waves(numbers.T, amplitudes.T, rng.uniform(0, 2 * np.pi, 2))
