"""Samples of decoded frames to RGB and back: 8 bits by FFmpeg's scaler, more by these formulas.

The scaler makes the white of deep samples 255/256, takes the factors of full range from 8 bits, rounds 16 bits to
fewer, and knows some matrices only. Source of the formulas: ITU-T H.273, section 8.3.
"""

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from vfi.errors import require
from vfi.files.opencv import opencv
from vfi.video.av_common import EXACT_CONVERSION, Colour
from vfi.video.planes import copy_planes, fill, samples_of
from vfi.video.siting import in_samples, steps

if TYPE_CHECKING:
    from av import VideoFormat, VideoFrame

# From the numbers that files carry to the scaler's, which has no others.
_OF_SCALER = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT601, _YCGCO, FULL = 5, 8, 2
# Weights of red and blue in luma.
_LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
# Matrices whose formulas are not linear or depend on more than the samples.
NOT_LINEAR = {
    10: "BT.2020 with constant luminance", 11: "SMPTE ST 2085", 12: "derived from the primaries",
    13: "derived from the primaries, with constant luminance", 14: "ICtCp", 15: "IPT-C2",
}  # fmt: skip
_DITHER_SIDE = 8


def bits_of(pixels: "VideoFormat") -> int:
    return max(component.bits for component in pixels.components)


def chroma_of(pixels: "VideoFormat") -> float:
    """Samples of chroma for each of luma: 1, 1/2, 1/4, or 0 of gray."""
    if pixels.is_rgb or pixels.has_palette:
        return 1.0
    if len(pixels.components) < 3:
        return 0.0
    return pixels.chroma_width(64) * pixels.chroma_height(64) / 64**2


def scaler_matrix(colour: Colour) -> int:
    return _OF_SCALER.get(colour.matrix, _BT601)


def is_exact(pixels: "VideoFormat", colour: Colour) -> bool:
    """Whether FFmpeg's scaler converts such samples to RGB and back to what they were, but for one code value."""
    if pixels.is_rgb or pixels.has_palette:
        return True
    return bits_of(pixels) <= 8 and (colour.matrix != _YCGCO or len(pixels.components) < 3)


def sampled_as(frame: "VideoFrame") -> Colour:
    """Matrix, range and the rest of a decoded frame."""
    sampled = FULL if frame.format.name.startswith("yuvj") else int(frame.color_range)
    return Colour(int(frame.colorspace), sampled, int(frame.color_trc), int(frame.color_primaries))


def to_rgb(frame: "VideoFrame", width: int, height: int) -> np.ndarray:
    """(height, width, 3) RGB: uint8, or uint16 where samples have more than 8 bits."""
    pixels, colour = frame.format, sampled_as(frame)
    deep, matrix = bits_of(pixels) > 8, scaler_matrix(colour)
    if pixels.is_rgb or pixels.has_palette:
        rgb: np.ndarray = frame.to_ndarray(
            format="rgb48le" if deep else "rgb24", width=width, height=height, interpolation=EXACT_CONVERSION
        )
        return rgb
    if is_exact(pixels, colour):  # by planes: the same values in a third of the time
        apart = frame.reformat(width, height, "gbrp", src_colorspace=matrix, interpolation=EXACT_CONVERSION)
        return np.asarray(opencv().merge([samples_of(apart, number)[..., 0] for number in (2, 0, 1)]))
    bits = bits_of(pixels)
    if len(pixels.components) < 3:
        same = frame.reformat(width, height, interpolation=EXACT_CONVERSION)
        gray = samples_of(same, 0)[..., 0] * np.float32(65535 / (2**bits - 1))
        return np.repeat(gray.round().astype(np.uint16)[..., None], 3, axis=2)
    planar = _recoded(frame, "yuv444p16le", matrix, colour.range, width, height)
    luma, *chroma = (samples_of(planar, number)[..., 0] for number in range(3))
    luma = luma & np.uint16(65536 - 2 ** (16 - bits))  # the scaler may have filled the bits below
    to_values = np.linalg.inv(_matrix(colour.matrix)) * 65535
    scale, offset = _codes(bits, colour.range)
    factors = to_values / scale / 2 ** (16 - bits)
    values = _transformed(opencv().merge([luma, *chroma]), factors, -to_values @ (offset / scale))
    return values if deep else np.asarray((values / 257).round().astype(np.uint8))


def from_rgb(rgb: np.ndarray, name: str, colour: Colour) -> "VideoFrame":
    """A frame with samples of the format `name`, of (H, W, 3) RGB in uint8 or uint16."""
    av = require("av")
    pixels = av.VideoFormat(name)
    bits, matrix, sampled = bits_of(pixels), scaler_matrix(colour), colour.range or 1
    if rgb.dtype == np.uint16 and bits <= 8:
        rgb = dithered(rgb)
    if is_exact(pixels, colour):
        kind = "rgb48le" if rgb.dtype == np.uint16 else "rgb24"
        whole: VideoFrame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(rgb), format=kind)
        if colour.siting and max(steps(pixels)) > 1:
            return in_samples(whole, name, matrix, sampled, colour.siting)
        return whole.reformat(
            format=name, dst_colorspace=matrix, dst_color_range=sampled, interpolation=EXACT_CONVERSION
        )
    height, width = rgb.shape[:2]
    matrix_of_rgb = _matrix(colour.matrix) / np.iinfo(rgb.dtype).max
    if len(pixels.components) < 3:
        gray = _transformed(rgb, matrix_of_rgb[:1] * (2**bits - 1), np.zeros(1))
        frame: VideoFrame = av.VideoFrame(width, height, name)
        fill(frame, [gray])
        return frame
    scale, offset = _codes(bits, colour.range)
    codes = np.minimum(_transformed(rgb, scale[:, None] * matrix_of_rgb, offset), 2**bits - 1) << (16 - bits)
    planar: VideoFrame = av.VideoFrame(width, height, "yuv444p16le")
    fill(planar, opencv().split(codes))
    if colour.siting and max(steps(pixels)) > 1:
        return in_samples(planar, name, matrix, sampled, colour.siting)
    return _recoded(planar, name, matrix, colour.range, width, height)


def copied(frame: "VideoFrame", name: str, colour: Colour) -> "VideoFrame | None":
    """The samples of a frame without all else that it carries; None if those of such a format, matrix and range are
    others."""
    own, pixels = sampled_as(frame), frame.format
    if pixels.name.replace("yuvj", "yuv") != name.replace("yuvj", "yuv") or pixels.has_palette:
        return None
    if not pixels.is_rgb and (own.range or 1) != (colour.range or 1):
        return None
    if chroma_of(pixels) and not pixels.is_rgb and own.matrix != colour.matrix:
        return None
    same: VideoFrame = require("av").VideoFrame(frame.width, frame.height, name)
    if any(plane.line_size <= 0 for plane in frame.planes):
        return None
    copy_planes(frame, same)
    return same


def _transformed(pixels: np.ndarray, factors: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """`factors` @ pixel + `offset` of each pixel (H, W, C), rounded to uint16."""
    with_offset = np.concatenate([factors, offset[:, None]], axis=1).astype(np.float32)
    result: np.ndarray = opencv().transform(pixels.astype(np.uint16, copy=False), with_offset)
    return result


def dithered(rgb: np.ndarray) -> np.ndarray:
    """uint16 -> uint8: what is lost becomes a fine regular pattern of the right mean, instead of bands."""
    height, width = rgb.shape[:2]
    tiles = math.ceil(height / _DITHER_SIDE), math.ceil(width / _DITHER_SIDE)
    pattern = np.tile(_bayer(_DITHER_SIDE), tiles)[:height, :width, None]
    return np.asarray((rgb * np.float32(255 / 65535) + pattern).astype(np.uint8))


@functools.cache
def _bayer(side: int) -> np.ndarray:
    """Bayer's ordered thresholds, (side, side), in (0, 1)."""
    if side == 1:
        return np.full((1, 1), 0.5, np.float32)
    smaller = _bayer(side // 2) - np.float32(0.5 / (side // 2) ** 2)
    cell = np.kron(np.ones((2, 2)), smaller)
    steps = np.kron(np.array([[0, 2], [3, 1]]), np.ones_like(smaller)) / side**2
    return (cell + steps + 0.5 / side**2).astype(np.float32)


def _matrix(matrix: int) -> np.ndarray:
    """(3, 3): RGB in [0, 1] to luma in [0, 1] and two chroma in [-1/2, 1/2]."""
    if matrix == _YCGCO:
        return np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0, -0.5]])
    red, blue = _LUMA[_OF_SCALER.get(matrix, _BT601)]
    luma = np.array([red, 1 - red - blue, blue])
    rgb = np.eye(3)
    rows = [luma, (rgb[2] - luma) / (2 - 2 * blue), (rgb[0] - luma) / (2 - 2 * red)]
    return np.stack(rows)


def _codes(bits: int, sampled: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors and offsets from values to codes of so many bits, (3,) each."""
    unit = 2.0 ** (bits - 8)
    if sampled == FULL:
        return np.full(3, 2.0**bits - 1), unit * np.array([0, 128, 128])
    return unit * np.array([219, 224, 224]), unit * np.array([16, 128, 128])


def _recoded(frame: "VideoFrame", name: str, matrix: int, sampled: int, width: int, height: int) -> "VideoFrame":
    """The same codes with another sampling of chroma, or more bits below."""
    sampled = sampled or 1
    return frame.reformat(
        width, height, name, src_colorspace=matrix, dst_colorspace=matrix, src_color_range=sampled,
        dst_color_range=sampled, interpolation=EXACT_CONVERSION,
    )  # fmt: skip
