"""How a layer of a training scene moves: its own motion, seen by a camera that moves as well; float32, and fast.

`SceneMotion` has the methods of `vfi.data.synthetic.motion.Motion`, so that `Layer` and `Scene` take it. It bends and
tilts, and its waves travel; its inverse is good to 1e-3 px, which float16, in which the flow is kept, does not show.
"""

import math
from dataclasses import dataclass

import numpy as np

_STEPS = 4  # of Newton's method: from 1 px to below what float32 tells apart


@dataclass(frozen=True)
class Way:
    """A number that goes from `middle - rate / 2` at time 0 to `middle + rate / 2` at time 1.

    Between them it leaves the straight way by up to `bend`, at time 0.5.
    """

    middle: float = 0.0
    rate: float = 0.0
    bend: float = 0.0

    def __call__(self, time: float) -> float:
        return self.middle + self.rate * (time - 0.5) + self.bend * 4 * time * (1 - time)


@dataclass(frozen=True)
class Camera:
    """Moves, zooms and rolls about `centre`, the frame's; a layer sees `nearness` of the move and of the zoom."""

    centre: tuple[float, float]
    x: Way = Way()
    y: Way = Way()
    zoom: Way = Way()
    roll: Way = Way()

    def affine(self, time: float, nearness: float) -> tuple[np.ndarray, np.ndarray]:
        matrix = math.exp(nearness * self.zoom(time)) * _turn(self.roll(time))
        centre = np.array(self.centre)
        return matrix, centre + nearness * np.array([self.x(time), self.y(time)]) - matrix @ centre


@dataclass(frozen=True)
class Wave:
    """A displacement `amplitude(time) * direction * sin(number . q + phase(time))`, in px and radians."""

    number: tuple[float, float]
    direction: tuple[float, float]
    amplitude: Way
    phase: Way


@dataclass(frozen=True)
class SceneMotion:
    r"""Where the points of a layer are in the frame at each time.

    With the affine map (A, c) of the layer and the camera, and the tilt g, the point q is in the frame at
    A q / (1 + g . q) + c, and shows the layer's point u = q + D(q), where D is the sum of the waves.
    """

    x: Way
    y: Way
    angle: Way = Way()
    zoom: Way = Way()
    shear: Way = Way()
    tilt_x: Way = Way()
    tilt_y: Way = Way()
    waves: tuple[Wave, ...] = ()
    camera: Camera | None = None
    nearness: float = 1.0

    def _placed(self, time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        matrix = math.exp(self.zoom(time)) * _turn(self.angle(time)) @ np.array([[1, self.shear(time)], [0, 1]])
        origin = np.array([self.x(time), self.y(time)])
        if self.camera is not None:
            seen, moved = self.camera.affine(time, self.nearness)
            matrix, origin = seen @ matrix, seen @ origin + moved
        return matrix, origin, np.array([self.tilt_x(time), self.tilt_y(time)])

    def to_layer(self, points: np.ndarray, time: float) -> np.ndarray:
        """The layer's points (2, ...) that the frame shows at `points` (2, ...), float32 px."""
        matrix, origin, tilt = self._placed(time)
        (a, b), (c, d) = np.linalg.inv(matrix).astype(np.float32)
        x, y = (points[i].astype(np.float32) - np.float32(origin[i]) for i in (0, 1))
        return self._bent(a * x + b * y, c * x + d * y, tilt, time)

    def grid_to_layer(self, xs: np.ndarray, ys: np.ndarray, time: float) -> np.ndarray:
        """`to_layer` of the grid of columns `xs` (W,) and rows `ys` (H,), as (2, H, W) float32."""
        matrix, origin, tilt = self._placed(time)
        (a, b), (c, d) = np.linalg.inv(matrix).astype(np.float32)
        x, y = (xs - origin[0]).astype(np.float32), (ys - origin[1]).astype(np.float32)[:, None]
        return self._bent(b * y + a * x, d * y + c * x, tilt, time)

    def _bent(self, x: np.ndarray, y: np.ndarray, tilt: np.ndarray, time: float) -> np.ndarray:
        if tilt.any():
            g, h = tilt.astype(np.float32)
            farther = 1 / (1 - g * x - h * y)
            x, y = x * farther, y * farther
        result = np.stack((x, y))
        for wave in self.waves:
            sine = np.sin(_phase(wave, x, y, time))
            for i in (0, 1):
                result[i] += np.float32(wave.amplitude(time) * wave.direction[i]) * sine
        return result

    def to_frame(self, points: np.ndarray, time: float) -> np.ndarray:
        """Where the frame shows the layer's `points` (2, N), as (2, N) float32 px."""
        matrix, origin, tilt = self._placed(time)
        points = points.astype(np.float32)
        x, y = points.copy()
        for _ in range(_STEPS if self.waves else 0):
            miss = np.stack((x - points[0], y - points[1]))
            slope = np.zeros((2, 2, points.shape[1]), np.float32)
            for wave in self.waves:
                phase = _phase(wave, x, y, time)
                sine, cosine = np.sin(phase), np.cos(phase)
                for i in (0, 1):
                    size = wave.amplitude(time) * wave.direction[i]
                    miss[i] += np.float32(size) * sine
                    for j in (0, 1):
                        slope[i, j] += np.float32(size * wave.number[j]) * cosine
            (a, b), (c, d) = slope
            a, d = 1 + a, 1 + d
            scale = 1 / (a * d - b * c)
            x, y = x - (d * miss[0] - b * miss[1]) * scale, y - (a * miss[1] - c * miss[0]) * scale
        nearer = 1 / (1 + np.float32(tilt[0]) * x + np.float32(tilt[1]) * y) if tilt.any() else np.float32(1)
        (a, b), (c, d) = matrix.astype(np.float32)
        placed = (a * x + b * y) * nearer, (c * x + d * y) * nearer
        return np.stack([placed[i] + np.float32(origin[i]) for i in (0, 1)])


def _phase(wave: Wave, x: np.ndarray, y: np.ndarray, time: float) -> np.ndarray:
    a, b = np.float32(wave.number[0]), np.float32(wave.number[1])
    return a * x + b * y + np.float32(wave.phase(time))


def _turn(angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])
