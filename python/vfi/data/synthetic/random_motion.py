"""Random motions of a layer, bounded by how far its points may go."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from vfi.data.synthetic.motion import Accelerated, Motion, Oscillating, Uniform, Waves

MotionName = Literal["uniform", "accelerated", "rotation", "oscillation", "mixed"]
MIXED: Literal["mixed"] = "mixed"  # another of MOTIONS for each layer
_ALLOWED = 0.99  # of what is allowed: between the points and times that are looked at it may be a little more
_TURN = np.pi / 3  # below which a rotation is almost straight
_MOMENTS = np.linspace(-0.5, 0.5, 129)  # from the middle of the time

Pair = tuple[float, float]


def random_motion(rng: np.random.Generator, centre: Pair, half: Pair, max_motion: float, kind: MotionName) -> Motion:
    """A motion for times in [0, 1]; no point of the layer within `half` of its middle moves further than `max_motion`.

    That is between any two times, and from 0 to 1 if the kind is "uniform". All in px.
    """
    if kind == MIXED:
        kind = MOTIONS[rng.integers(len(MOTIONS))]
    waves = _waves(rng, 2 * math.sqrt(half[0] * half[1]))
    farthest = max_motion * rng.uniform(0.1, 1) ** 1.5 * (rng.random() < 0.95)
    side = np.linspace(-1, 1, 33)
    points = np.stack(np.meshgrid(side * half[0], side * half[1])).reshape(2, -1)
    return _KINDS[kind](rng, centre, farthest, waves, points)


def _uniform(rng: np.random.Generator, centre: Pair, farthest: float, waves: Waves, points: np.ndarray) -> Motion:
    distance, direction = farthest * rng.uniform(0.3, 1), rng.uniform(0, 2 * np.pi)
    rates = [distance * math.cos(direction), distance * math.sin(direction)]
    rates += [rng.normal() * deviation * (rng.random() < 0.7) for deviation in (0.12, 0.08, 0.05)]
    rates += [rng.uniform(-1, 1) * (rng.random() < 0.7)]
    bend = rng.uniform(-0.5, 0.5)
    factor = float(farthest > 0)
    while True:
        values = zip((*centre, 0.0, 0.0, 0.0, bend), (factor * rate for rate in rates))
        x, y, angle, zoom, shear, strength = (Uniform(middle, rate) for middle, rate in values)
        motion = Motion(x, y, angle, zoom, shear, strength, waves)
        moved = np.linalg.norm(motion.to_frame(points, 1) - motion.to_frame(points, 0), axis=0).max()
        if moved <= _ALLOWED * farthest:
            return motion
        factor *= 0.98 * farthest / moved


def _accelerated(rng: np.random.Generator, centre: Pair, farthest: float, waves: Waves, points: np.ndarray) -> Motion:
    rate, acceleration = _direction(rng), rng.uniform(1, 4) * _direction(rng)
    factor = _fitting(rate[:, None] * _MOMENTS + acceleration[:, None] / 2 * _MOMENTS**2, farthest)
    x, y = (Accelerated(centre[i], factor * rate[i], factor * acceleration[i]) for i in (0, 1))
    return _rigid(rng, x, y, waves)


def _oscillation(rng: np.random.Generator, centre: Pair, farthest: float, waves: Waves, points: np.ndarray) -> Motion:
    rate, amplitudes, phases = 2 * np.pi * rng.uniform(0.5, 1.5), _direction(rng), rng.uniform(0, 2 * np.pi, 2)
    factor = _fitting(amplitudes[:, None] * np.sin(rate * _MOMENTS + phases[:, None]), farthest)
    x, y = (Oscillating(centre[i], factor * amplitudes[i], rate, phases[i]) for i in (0, 1))
    return _rigid(rng, x, y, waves)


def _rotation(rng: np.random.Generator, centre: Pair, farthest: float, waves: Waves, points: np.ndarray) -> Motion:
    """About a centre near the layer's middle; a layer too large to turn far goes round a circle without turning."""
    away, phase = rng.uniform(0, 0.5) * np.abs(points).max() * (rng.random() < 0.5), rng.uniform(0, 2 * np.pi)
    pivot = centre[0] - away * math.cos(phase), centre[1] - away * math.sin(phase)
    bend = rng.uniform(-0.5, 0.5)
    still = Uniform(0, 0)
    motion = Motion(Uniform(centre[0], 0), Uniform(centre[1], 0), still, still, still, Uniform(bend, 0), waves)
    radius = np.linalg.norm(motion.to_frame(points, 0.5) - np.array(pivot)[:, None], axis=0).max()
    chord = _ALLOWED * farthest / (2 * radius)  # of a circle of radius 1/2
    turn = 2 * math.asin(chord) if chord < 1 else np.pi
    way = rng.choice((-1, 1))
    if turn < _TURN:
        turn = way * rng.uniform(0.5, 1) * np.pi
        radius = _ALLOWED * farthest / (2 * math.sin(abs(turn) / 2))
        x, y = Oscillating(centre[0], radius, turn, phase + np.pi / 2), Oscillating(centre[1], radius, turn, phase)
        return Motion(x, y, still, still, still, Uniform(bend, 0), waves)
    turn *= way
    x, y = Oscillating(pivot[0], away, turn, phase + np.pi / 2), Oscillating(pivot[1], away, turn, phase)
    return Motion(x, y, Uniform(0, turn), still, still, Uniform(bend, 0), waves)


def _rigid(rng: np.random.Generator, x: Callable[[float], float], y: Callable[[float], float], waves: Waves) -> Motion:
    """A layer that moves as a whole."""
    still = Uniform(0, 0)
    return Motion(x, y, still, still, still, Uniform(rng.uniform(-0.5, 0.5), 0), waves)


def _direction(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([math.cos(angle), math.sin(angle)])


def _fitting(path: np.ndarray, farthest: float) -> float:
    """By what a path (2, T) is multiplied, so that no two of its points are further apart than allowed."""
    apart = np.linalg.norm(path[:, :, None] - path[:, None], axis=0).max()
    return float(_ALLOWED * farthest / apart)


def _waves(rng: np.random.Generator, span: float) -> Waves:
    """Two waves about as long as the layer, and together flat enough for every bend in [-1, 1]."""
    lengths, directions = span * rng.uniform(0.6, 2, 2), rng.uniform(0, 2 * np.pi, (2, 2))
    numbers = 2 * np.pi / lengths * np.stack((np.cos(directions[0]), np.sin(directions[0])))
    sizes = rng.uniform(0.02, 0.15, 2) * lengths / (2 * np.pi)
    amplitudes = sizes * np.stack((np.cos(directions[1]), np.sin(directions[1])))
    return Waves(numbers.T, amplitudes.T, rng.uniform(0, 2 * np.pi, 2))


_KINDS: dict[MotionName, Callable[..., Motion]] = {
    "uniform": _uniform,
    "accelerated": _accelerated,
    "rotation": _rotation,
    "oscillation": _oscillation,
}
MOTIONS = tuple(_KINDS)
