"""Decoded frames as pictures: upright, of one size."""

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from vfi.video.av_common import EXACT_CONVERSION

if TYPE_CHECKING:
    from av import VideoFrame


def upright_rgb(frame: "VideoFrame", first: "VideoFrame") -> np.ndarray:
    """(H, W, 3) uint8 RGB, of the size and turned as the first frame; one of another size gets black bars."""
    width, height = first.width, first.height
    scale = min(Fraction(width, frame.width), Fraction(height, frame.height))
    inner_width, inner_height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    rgb: np.ndarray = frame.to_ndarray(
        format="rgb24", width=inner_width, height=inner_height, interpolation=EXACT_CONVERSION
    )
    if rgb.shape[:2] != (height, width):
        top, left = (height - inner_height) // 2, (width - inner_width) // 2
        rgb = np.pad(rgb, ((top, height - inner_height - top), (left, width - inner_width - left), (0, 0)))
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns(first)))


def quarter_turns(frame: "VideoFrame") -> int:
    """Turns of 90 degrees against the clock that make the frame upright, 0 to 3."""
    result: int = round(frame.rotation / 90) % 4
    return result
