"""Frames to pictures with alpha and back, where their samples have any, and those in float."""

from typing import TYPE_CHECKING

import numpy as np

from vfi.errors import require
from vfi.files.images import with_alpha
from vfi.video.av_common import EXACT_CONVERSION, Colour
from vfi.video.colours import bits_of, dithered, from_rgb, to_rgb
from vfi.video.planes import copy_planes, fill, is_float, samples_of

if TYPE_CHECKING:
    from av import VideoFormat, VideoFrame


def has_alpha(pixels: "VideoFormat") -> bool:
    return any(component.is_alpha for component in pixels.components)


def without_alpha(name: str) -> str:
    """Of planar formats, the one of the same planes but the last."""
    return name.replace("yuva", "yuv").replace("gbra", "gbr")


def to_pixels(frame: "VideoFrame", width: int, height: int) -> np.ndarray:
    """(height, width, 3) as `to_rgb`, or with alpha (height, width, 4) where the samples have any.

    Of float what lies in [0, 1] becomes uint16; NaN is 0.
    """
    rgb = _of_float(frame, width, height) if is_float(frame.format) else to_rgb(frame, width, height)
    return np.dstack((rgb, _alpha(frame, width, height))) if has_alpha(frame.format) else rgb


def _of_float(frame: "VideoFrame", width: int, height: int) -> np.ndarray:
    same = frame.reformat(width, height)
    if frame.format.is_planar:
        planes = (2, 0, 1) if frame.format.is_rgb else (0, 0, 0)
        return _whole(np.dstack([samples_of(same, number)[..., 0] for number in planes]))
    return _whole(samples_of(same, 0)[..., (0, 1, 2) if frame.format.is_rgb else (0, 0, 0)])


def _whole(values: np.ndarray) -> np.ndarray:
    kept = np.nan_to_num(values.astype(np.float32), nan=0.0).clip(0, 1)
    return np.asarray((kept * np.float32(65535)).round().astype(np.uint16))


def _alpha(frame: "VideoFrame", width: int, height: int) -> np.ndarray:
    """(height, width) in uint8, or uint16 where samples have more than 8 bits."""
    bits, pixels = bits_of(frame.format), frame.format
    if pixels.has_palette or (not pixels.is_planar and len(pixels.components) > 2 and not is_float(pixels)):
        name = "rgba" if bits <= 8 else "rgba64le"
        return np.asarray(frame.to_ndarray(format=name, width=width, height=height)[..., 3])
    samples = samples_of(frame.reformat(width, height, interpolation=EXACT_CONVERSION), len(frame.planes) - 1)[..., -1]
    if is_float(pixels):
        return _whole(samples)
    if bits <= 8:
        return samples
    return np.asarray((samples * np.float32(65535 / (2**bits - 1))).round().astype(np.uint16))


def from_pixels(pixels: np.ndarray, name: str, colour: Colour) -> "VideoFrame":
    """A frame with samples of the format `name`, of (H, W, 3) as `from_rgb`, or with alpha (H, W, 4)."""
    av = require("av")
    written = av.VideoFormat(name)
    if not has_alpha(written):
        return from_rgb(np.ascontiguousarray(pixels[..., :3]), name, colour)
    pixels, bits = with_alpha(pixels), bits_of(written)
    if not written.is_planar and len(written.components) > 2:
        if pixels.dtype == np.uint16 and bits <= 8:
            pixels = dithered(pixels)
        whole: VideoFrame = av.VideoFrame.from_ndarray(pixels, format="rgba64le" if bits > 8 else "rgba")
        return whole.reformat(format=name, interpolation=EXACT_CONVERSION)
    opaque_name = without_alpha(name) if written.is_planar else "gray16le" if bits > 8 else "gray"
    opaque = from_rgb(np.ascontiguousarray(pixels[..., :3]), opaque_name, colour)
    alpha = (pixels[..., 3] * ((2**bits - 1) / np.iinfo(pixels.dtype).max)).round()
    frame: VideoFrame = av.VideoFrame(opaque.width, opaque.height, name)
    if written.is_planar:
        copy_planes(opaque, frame)
        fill(frame, [alpha], first=len(frame.planes) - 1)
    else:
        fill(frame, [np.dstack((samples_of(opaque, 0)[..., 0], alpha))])
    return frame
