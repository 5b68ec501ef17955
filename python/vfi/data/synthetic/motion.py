"""How a layer moves: an affine map and waves, both functions of time, exact in either direction."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Curve = Callable[[float], float]  # a parameter of the motion as a function of time

_PRECISION = 1e-9  # px


@dataclass(frozen=True)
class Uniform:
    """Changes at a constant rate; `middle` is the value at time 0.5."""

    middle: float
    rate: float

    def __call__(self, time: float) -> float:
        return self.middle + self.rate * (time - 0.5)


@dataclass(frozen=True)
class Accelerated:
    """Changes at a rate that changes at a constant rate; `middle` and `rate` are those at time 0.5."""

    middle: float
    rate: float
    acceleration: float

    def __call__(self, time: float) -> float:
        return self.middle + self.rate * (time - 0.5) + self.acceleration / 2 * (time - 0.5) ** 2


@dataclass(frozen=True)
class Oscillating:
    """A sine around `middle`; `rate` in radians per unit of time, `phase` in radians at time 0.5."""

    middle: float
    amplitude: float
    rate: float
    phase: float

    def __call__(self, time: float) -> float:
        return self.middle + self.amplitude * math.sin(self.rate * (time - 0.5) + self.phase)


@dataclass(frozen=True)
class Waves:
    """A smooth field of displacements, D(q) = sum over k of amplitudes[k] * sin(numbers[k] . q + phases[k])."""

    numbers: np.ndarray  # (K, 2) radians per px
    amplitudes: np.ndarray  # (K, 2) px
    phases: np.ndarray  # (K,) radians

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """D at points (2, N), as (2, N)."""
        return _multiply(self.amplitudes.T, np.sin(_multiply(self.numbers, points) + self.phases[:, None]))

    def gradient(self, points: np.ndarray) -> np.ndarray:
        """The derivative of D's component i along j at points (2, N), as (i, j, N)."""
        slopes = np.cos(_multiply(self.numbers, points) + self.phases[:, None])
        result: np.ndarray = np.einsum("ki,kj,kn->ijn", self.amplitudes, self.numbers, slopes)
        return result

    def steepness(self) -> float:
        """A bound of the gradient's norm."""
        return float((np.linalg.norm(self.numbers, axis=1) * np.linalg.norm(self.amplitudes, axis=1)).sum())


@dataclass(frozen=True)
class Motion:
    r"""Where the points of a layer are in the frame at each time.

    With matrix A and origin c of that time, the frame's point p shows the layer's point u:

        q = A^-1 (p - c),   u = q + bend * D(q)

    The map from u to p is found by Newton's method to 1e-9 px. It is unique where
    |bend| * waves.steepness() < 1, which the curves must keep at every time that is asked for.
    """

    x: Curve  # c, px
    y: Curve
    angle: Curve  # radians, clockwise on the screen
    zoom: Curve  # logarithm of the scale
    shear: Curve
    bend: Curve
    waves: Waves

    def affine(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """A (2, 2) and c (2, 1) at `time`."""
        cos, sin, scale = np.cos(self.angle(time)), np.sin(self.angle(time)), np.exp(self.zoom(time))
        matrix = scale * np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, self.shear(time)], [0, 1]])
        return matrix, np.array([[self.x(time)], [self.y(time)]])

    def to_layer(self, points: np.ndarray, time: float) -> np.ndarray:
        """The layer's points (2, N) that the frame shows at `points` (2, N), float64 px."""
        matrix, origin = self.affine(time)
        q = _multiply(np.linalg.inv(matrix), points - origin)
        return q + self.bend(time) * self.waves(q)

    def to_frame(self, points: np.ndarray, time: float) -> np.ndarray:
        """Where the frame shows the layer's `points` (2, N), as (2, N) float64 px.

        Raises:
            ArithmeticError: if the waves fold the layer, so that there is no single place.
        """
        matrix, origin = self.affine(time)
        bend = self.bend(time)
        q = points - bend * self.waves(points)
        for _ in range(50):
            error = q + bend * self.waves(q) - points
            if np.abs(error).max(initial=0) < _PRECISION:
                result: np.ndarray = _multiply(matrix, q) + origin
                return result
            (a, b), (c, d) = bend * self.waves.gradient(q)
            a, d = 1 + a, 1 + d
            determinant = a * d - b * c
            q = q - np.stack((d * error[0] - b * error[1], a * error[1] - c * error[0])) / determinant
        raise ArithmeticError(f"the waves of a layer fold it: |bend| * steepness must be below 1, bend is {bend:g}")

    def grid_to_layer(self, xs: np.ndarray, ys: np.ndarray, time: float) -> np.ndarray:
        """`to_layer` of the grid of columns `xs` (W,) and rows `ys` (H,), as (2, H, W) float32.

        Sines are taken of rows and columns only: sin(a x + b y) = sin(a x) cos(b y) + cos(a x) sin(b y).
        """
        matrix, origin = self.affine(time)
        inverse = np.linalg.inv(matrix)
        x, y = xs - origin[0], ys - origin[1]
        along, down = inverse[:, :1] * x, inverse[:, 1:] * y
        result: np.ndarray = down[:, :, None].astype(np.float32) + along[:, None, :].astype(np.float32)
        numbers = self.waves.numbers @ inverse
        for (a, b), amplitude, phase in zip(numbers, self.waves.amplitudes, self.waves.phases):
            rows, columns = b * y + phase, a * x
            wave = _outer(np.cos(rows), np.sin(columns)) + _outer(np.sin(rows), np.cos(columns))
            for i in (0, 1):
                result[i] += np.float32(self.bend(time) * amplitude[i]) * wave
        return result


def _multiply(matrix: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """matrix @ columns without BLAS, whose rounding may depend on its number of threads."""
    result: np.ndarray = sum(matrix[:, k : k + 1] * columns[k] for k in range(len(columns)))
    return result


def _outer(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return rows.astype(np.float32)[:, None] * columns.astype(np.float32)
