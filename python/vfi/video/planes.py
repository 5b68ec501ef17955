"""The samples of frames, plane by plane, as arrays."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av import VideoFormat, VideoFrame


def is_float(pixels: "VideoFormat") -> bool:
    return any(f"f{bits}" in pixels.name for bits in (16, 32))


def dtype_of(pixels: "VideoFormat") -> np.dtype:
    """Of a sample."""
    size = -(-max(component.bits for component in pixels.components) // 8)
    return np.dtype(f"{'>' if pixels.is_big_endian else '<'}{'f' if is_float(pixels) else 'u'}{size}")


def samples_of(frame: "VideoFrame", number: int) -> np.ndarray:
    """The samples of a plane, (height, width, how many lie together)."""
    plane, together = frame.planes[number], 1 if frame.format.is_planar else len(frame.format.components)
    samples: np.ndarray = np.frombuffer(memoryview(plane), dtype_of(frame.format)).reshape(plane.height, -1)
    return samples[:, : plane.width * together].reshape(plane.height, plane.width, together)


def fill(frame: "VideoFrame", values: "np.ndarray | Sequence[np.ndarray]", first: int = 0) -> None:
    """Puts samples, (height, width) or (height, width, how many lie together), into planes from the `first` on."""
    dtype = dtype_of(frame.format)
    for plane, samples in zip(frame.planes[first:], values):
        padded = np.zeros((plane.height, plane.line_size // dtype.itemsize), dtype)
        padded[:, : samples[0].size] = samples.reshape(plane.height, -1)
        plane.update(padded.tobytes())


def copy_planes(frame: "VideoFrame", same: "VideoFrame") -> None:
    """The planes that two frames have in common."""
    for plane, target in zip(frame.planes, same.planes):
        rows, room = (np.frombuffer(memoryview(each), np.uint8).reshape(-1, each.line_size) for each in (plane, target))
        width = min(plane.line_size, target.line_size)
        room[: target.height, :width] = rows[: target.height, :width]
