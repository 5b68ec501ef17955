"""A scene whose true frame is known at every time: two photographs of scikit-image, moved.

The background turns, grows and slides; a cut-out in front of it moves another way and hides parts of it. Every frame is
rendered from the photographs themselves, at twice the resolution and then averaged; none is interpolated from others.
"""

from functools import cache
from types import ModuleType

import numpy as np

from vfi.errors import require
from vfi.files.opencv import opencv

WIDTH, HEIGHT = 576, 384
_SUPERSAMPLE = 2
CREDITS = "coffee (Rachel Michetti, CC0) and astronaut (NASA, public domain), shipped with scikit-image"


def true_frame(time: float) -> np.ndarray:
    """The scene at `time` (HEIGHT, WIDTH, 3) RGB uint8; one unit moves either layer by 10 to 15 pixels."""
    cv2 = opencv()
    background, portrait, cutout = _layers()
    behind = _place(cv2, background, angle=1.2 * time, scale=1.25 + 0.012 * time, x=-9.0 * time, y=3.0 * time)
    front = {"angle": -1.5 * time, "scale": 0.55, "x": -110 + 14.0 * time, "y": 25 - 5.0 * time}
    colour, alpha = _place(cv2, portrait, **front), _place(cv2, cutout, **front)[..., None]
    fine = alpha * colour + (1 - alpha) * behind
    frame = cv2.resize(fine, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    result: np.ndarray = (frame.clip(0, 1) * 255).round().astype(np.uint8)
    return result


@cache
def _layers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Background, cut-out's colours and its mask (an ellipse around the head and shoulders), in [0, 1]."""
    data = require("skimage.data")
    background = data.coffee().astype(np.float32) / 255
    portrait = data.astronaut()[:400, 60:400].astype(np.float32) / 255
    height, width = portrait.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot((x - width / 2) / (0.47 * width), (y - height / 2) / (0.48 * height))
    return background, portrait, np.clip((1 - distance) * 60, 0, 1)


def _place(cv2: ModuleType, layer: np.ndarray, *, angle: float, scale: float, x: float, y: float) -> np.ndarray:
    """The layer turned by `angle` degrees and scaled about its centre, which comes to the frame's centre + (x, y)."""
    height, width = layer.shape[:2]
    s = _SUPERSAMPLE
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale * s)
    matrix[:, 2] += ((WIDTH / 2 + x) * s - width / 2, (HEIGHT / 2 + y) * s - height / 2)
    edge = cv2.BORDER_REFLECT if layer.ndim == 3 else cv2.BORDER_CONSTANT
    result: np.ndarray = cv2.warpAffine(layer, matrix, (WIDTH * s, HEIGHT * s), flags=cv2.INTER_CUBIC, borderMode=edge)
    return result
