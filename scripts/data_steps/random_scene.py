"""Random training scenes: one to six layers, a camera, things that stand still in front of all."""

import math

import numpy as np
import torch

from data_steps.cutouts import DENSITY, cutout, framed, written
from data_steps.motion import Camera, SceneMotion, Wave, Way
from data_steps.pictures import Pictures
from vfi.data.synthetic.scene import Layer, Scene
from vfi.files.opencv import opencv

SLOWEST, SLOW, FASTEST = 0.1, 1.0, 50.0  # px from frame 0 to frame 1
SLOW_SHARE = 0.15
OBJECTS = (0.12, 0.22, 0.26, 0.2, 0.12, 0.08)  # chances of none, one, ... in front of the background
_STEEP = 0.3  # of all waves of a layer together: below 1 they do not fold it


def random_scene(rng: np.random.Generator, size: int, pictures: Pictures) -> Scene:
    """For times from 0 to 1, and a little beyond for motion blur."""
    # A scene is quick or slow as a whole, as shots are.
    pace = random_pace(rng)
    camera = random_camera(rng, size, pace if rng.random() < 0.75 else 0.0)
    layers = [background(rng, size, pictures, camera, pace)]
    for _ in range(rng.choice(len(OBJECTS), p=OBJECTS)):
        layers.extend(moving_object(rng, size, pictures, camera, pace))
    if rng.random() < 0.1:
        layers.append(overlay(rng, size))
    return Scene(tuple(layers), (size, size))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def random_pace(rng: np.random.Generator) -> float:
    return log_uniform(rng, *((SLOWEST, SLOW) if rng.random() < SLOW_SHARE else (SLOW, FASTEST)))


def going(rng: np.random.Generator, rate: float, middle: float = 0.0, swerve: float = 0.1) -> Way:
    """Three in ten slow down or speed up: in the middle they are up to `swerve` of the way from half of it."""
    return Way(middle, rate, rng.uniform(-swerve, swerve) * rate if rng.random() < 0.3 else 0.0)


def random_camera(rng: np.random.Generator, size: int, pace: float) -> Camera:
    move, direction = pace * rng.uniform(0.3, 1), rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.5:  # most pans go along the horizon
        direction = rng.choice((0, np.pi)) + rng.normal() * 0.1
    zoom = pace / size * rng.normal() * 1.2 * (rng.random() < 0.4)
    roll = pace / size * rng.normal() * 0.8 * (rng.random() < 0.25)
    x, y = going(rng, move * math.cos(direction)), going(rng, move * math.sin(direction))
    return Camera((size / 2, size / 2), x, y, going(rng, zoom), going(rng, roll))


def background(rng: np.random.Generator, size: int, pictures: Pictures, camera: Camera, pace: float) -> Layer:
    side = math.ceil(DENSITY * (size + 2 * (min(pace, 30) + 4)))
    if rng.random() < 0.06:
        tile = pictures.texture(rng, *(int(n) for n in rng.integers(12, 64, 2)))
        picture = np.tile(tile, (-(-side // tile.shape[0]), -(-side // tile.shape[1]), 1))[:side, :side]
    else:
        picture = pictures.texture(rng, side, side)
    tilted = pace / size**2 * (rng.random() < 0.3)
    motion = SceneMotion(
        Way(size / 2), Way(size / 2),
        tilt_x=Way(0, rng.normal() * tilted), tilt_y=Way(0, rng.normal() * tilted),
        waves=waves(rng, size, pace if rng.random() < 0.25 else 0.0),
        camera=camera, nearness=rng.uniform(0.3, 1),
    )  # fmt: skip
    return layer(motion, picture)


def moving_object(rng: np.random.Generator, size: int, pictures: Pictures, camera: Camera, pace: float) -> list[Layer]:
    """An object, and the shadow before which it moves if it casts one."""
    radius = size * log_uniform(rng, 0.05, 0.42)
    pixels = cutout(rng, pictures, radius, size)
    if rng.random() < 0.06:
        pixels[..., 3] *= np.float32(rng.uniform(0.3, 0.9))
    motion = object_motion(rng, size, radius, camera, pace)
    result = [layer(motion, pixels)]
    if rng.random() < 0.15:
        away = rng.uniform(-0.15, 0.15, 2) * radius
        x, y = (Way(p.middle + d, p.rate, p.bend) for p, d in zip((motion.x, motion.y), away))
        below = SceneMotion(x, y, motion.angle, motion.zoom, motion.shear, waves=motion.waves, camera=camera,
                            nearness=motion.nearness)  # fmt: skip
        result.insert(0, layer(below, shadow(rng, pixels)))
    return result


def object_motion(rng: np.random.Generator, size: int, radius: float, camera: Camera, pace: float) -> SceneMotion:
    # Some go with what they stand on, some at a pace of their own.
    own = (0.0, pace, random_pace(rng))[rng.choice(3, p=(0.2, 0.5, 0.3))]
    move, direction = own * rng.uniform(0.3, 1), rng.uniform(0, 2 * np.pi)
    # What turning, growing and shearing add at the rim is in the order of the way.
    angle, zoom, shear = np.clip(rng.normal(size=3) * (0.5, 0.3, 0.2) * own / radius, -0.5, 0.5)
    angle, zoom, shear = (value * (rng.random() < 0.5) for value in (angle, zoom, shear))
    tilted = 0.4 * min(own, 0.3 * radius) / radius**2 * (rng.random() < 0.25)
    return SceneMotion(
        going(rng, move * math.cos(direction), rng.uniform(0, size)),
        going(rng, move * math.sin(direction), rng.uniform(0, size)),
        going(rng, angle, rng.normal() * 0.3), going(rng, zoom), Way(rng.normal() * 0.1, shear),
        Way(0, rng.normal() * tilted), Way(0, rng.normal() * tilted),
        waves(rng, 2 * radius, own if rng.random() < 0.5 else 0.0), camera, rng.uniform(0.6, 1.6),
    )  # fmt: skip


def waves(rng: np.random.Generator, span: float, pace: float) -> tuple[Wave, ...]:
    """One to three waves that swell or travel by some of the pace; none at a pace of 0."""
    if pace == 0:
        return ()
    count, result = int(rng.integers(1, 4)), []
    for _ in range(count):
        length = max(12.0, span * log_uniform(rng, 0.3, 2))
        number = 2 * np.pi / length
        largest = _STEEP / count / number
        swell = min(largest / 2, pace * rng.uniform(0, 0.5)) * rng.choice((-1, 1))
        middle = rng.uniform(-1, 1) * (largest - abs(swell) / 2)
        travel = min(0.8, pace * rng.uniform(0, 0.5) / max(abs(middle), 1)) * (rng.random() < 0.4)
        a, b = rng.uniform(0, 2 * np.pi, 2)
        result.append(Wave(
            (number * math.cos(a), number * math.sin(a)), (math.cos(b), math.sin(b)),
            Way(middle, swell), Way(rng.uniform(0, 2 * np.pi), travel),
        ))  # fmt: skip
    return tuple(result)


def shadow(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """Dark, soft, and thin enough for what is behind to be what is seen."""
    blurred = opencv().GaussianBlur(np.ascontiguousarray(pixels[..., 3]), (0, 0), rng.uniform(0.5, 6))
    result = np.zeros_like(pixels)
    result[2:-2, 2:-2, 3] = blurred[2:-2, 2:-2] * np.float32(rng.uniform(0.15, 0.45))
    return result


def overlay(rng: np.random.Generator, size: int) -> Layer:
    """A subtitle, a logo, a clock: letters with a dark rim, which stand still while all else moves."""
    mask = written(rng, DENSITY * rng.uniform(8, 22), int(rng.integers(1, 3)))[:, : int(1.4 * size)]
    mask = np.pad(np.clip(1.4 * mask, 0, 1), 5)
    wide = np.clip(2 * opencv().GaussianBlur(mask, (0, 0), rng.uniform(0.8, 2)), 0, 1)
    ink = rng.uniform(0.75, 1, 3).astype(np.float32)
    dim = np.float32(rng.uniform(0.8, 1))
    pixels = framed(np.concatenate((mask[..., None] * ink, np.maximum(mask, wide)[..., None] * dim), axis=2))
    half = [n / DENSITY / 2 for n in pixels.shape[:2]]
    y = size - half[0] - 6 if rng.random() < 0.6 else rng.uniform(half[0], max(half[0] + 1, size - half[0]))
    x = size / 2 if rng.random() < 0.5 else rng.uniform(min(half[1], size / 2), max(size - half[1], size / 2 + 1))
    return layer(SceneMotion(Way(round(x)), Way(round(y))), pixels)


def layer(motion: SceneMotion, pixels: np.ndarray) -> Layer:
    texture = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))
    return Layer(motion, texture, DENSITY)
