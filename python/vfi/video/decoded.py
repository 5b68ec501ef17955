"""Decoded frames as pictures: upright, of one size; and what they hold that is lost on the way."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import numpy as np

from vfi.errors import require
from vfi.video.alpha import has_alpha, to_pixels
from vfi.video.colours import NOT_LINEAR
from vfi.video.planes import is_float

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.buffer import Buffer


_DYNAMIC = ("DYNAMIC_HDR_PLUS", "DOVI_METADATA", "DOVI_RPU_BUFFER")  # of each frame


def upright_rgb(frame: "VideoFrame", first: "VideoFrame") -> np.ndarray:
    """(H, W, 3) RGB, or with alpha, in uint8 or uint16, of the first frame's size and turn.

    One of another size gets black bars.
    """
    width, height = first.width, first.height
    scale = min(Fraction(width, frame.width), Fraction(height, frame.height))
    inner_width, inner_height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    rgb = to_pixels(frame, inner_width, inner_height)
    if rgb.shape[:2] != (height, width):
        top, left = (height - inner_height) // 2, (width - inner_width) // 2
        rgb = np.pad(rgb, ((top, height - inner_height - top), (left, width - inner_width - left), (0, 0)))
    return np.ascontiguousarray(_turned(rgb, _display_matrix(first)))


def shown_again(frame: "VideoFrame", packet: "Packet[VideoStream]") -> "VideoFrame":
    """The frame once more, at the time of an empty packet."""
    again: VideoFrame = require("av").VideoFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name)
    again.colorspace, again.color_range = frame.colorspace, frame.color_range
    again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
    return again


def is_turned(frame: "VideoFrame") -> bool:
    """Whether width and height change places when the frame is made upright."""
    a, _, c, _ = _display_matrix(frame)
    return abs(c) > abs(a)


def as_shown(frame: "VideoFrame", first: "VideoFrame") -> "VideoFrame | None":
    """The frame, if it is of the first one's size and upright as it is."""
    a, _, _, d = _display_matrix(first)
    same = (frame.width, frame.height) == (first.width, first.height) and not is_turned(first) and min(a, d) > 0
    return frame if same else None


def _display_matrix(frame: "VideoFrame") -> tuple[int, int, int, int]:
    """a, b, c, d of x' = a x + c y and y' = b x + d y, which players apply: a turn, a mirror or both."""
    data: object = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = struct.unpack("=9i", memoryview(cast("Buffer", data)))
    return (a, b, c, d) if a * d != b * c else (1, 0, 0, 1)


def _turned(rgb: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    a, b, c, d = matrix
    across, down = (a, d)
    if abs(c) > abs(a):
        rgb, across, down = rgb.transpose(1, 0, 2), c, b
    return rgb[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


def losses(frame: "VideoFrame") -> Iterator[str]:
    """What the first frame holds that frames of RGB do not, in words."""
    if int(frame.colorspace) in NOT_LINEAR:
        yield f"the colours ({NOT_LINEAR[int(frame.colorspace)]}) are interpolated as if their formula were linear"
    if is_float(frame.format):
        yield "float becomes 16 bits, without what is below 0 or above 1"
    if any(frame.side_data.get(kind) is not None for kind in _DYNAMIC):
        yield "the HDR metadata of each frame (HDR10+, Dolby Vision) is left out; that of the whole stays"


def seen_through(frame: "VideoFrame") -> bool:
    """Whether anything in the frame is not opaque."""
    return has_alpha(frame.format) and bool(frame.to_ndarray(format="rgba")[..., 3].min() < 255)


def seconds_of(frame: "VideoFrame", stamp: int | None) -> Fraction | None:
    """A stamp of the frame, on the file's clock."""
    if stamp is None or frame.time_base is None:
        return None
    result: Fraction = stamp * frame.time_base
    return result
