"""Pixels of frames that are stored as planes of samples."""

import numpy as np

from vfi.data.planes import PlaneFile
from vfi.errors import UserError, require
from vfi.video.planes import fill


def rgb(file: PlaneFile, number: int) -> np.ndarray:
    """(H, W, 3), uint8, of a frame by its number from 0.

    Raises:
        UserError: if the file is too short for it, or cannot be read.
    """
    planes = planes_of(file, number)
    return _by_skimage(planes) if file.way == "skimage" else _by_scaler(planes, file)


def planes_of(file: PlaneFile, number: int) -> list[np.ndarray]:
    """Luma (H, W) and chroma (H/2, W/2), twice."""
    try:
        with file.path.open("rb") as opened:
            opened.seek(file.begin + number * file.step)
            data = opened.read(file.step)
    except OSError as error:
        raise UserError(f"cannot read {file.path}: {error.strerror or error}") from error
    if len(data) < file.step or not data.startswith(file.head):
        raise UserError(f"cannot read {file.path}: frame {number} is not where it should be")
    values = np.frombuffer(data, f"<u{file.samples}", offset=len(file.head))
    sides = [(file.height, file.width), *[(-(-file.height // 2), -(-file.width // 2))] * 2]
    ends = np.cumsum([h * w for h, w in sides])
    return [part.reshape(side) for part, side in zip(np.split(values, ends[:-1]), sides)]


def _by_scaler(planes: list[np.ndarray], file: PlaneFile) -> np.ndarray:
    frame = require("av").VideoFrame(file.width, file.height, file.pixels)
    fill(frame, planes)
    rgb: np.ndarray = frame.reformat(format="rgb24", interpolation="BICUBIC").to_ndarray()
    return rgb


def _by_skimage(planes: list[np.ndarray]) -> np.ndarray:
    image, colour = require("PIL.Image"), require("skimage.color")
    luma, *chroma = planes
    resized = [
        np.asarray(image.fromarray(plane).resize(luma.shape[::-1], image.Resampling.BICUBIC)) for plane in chroma
    ]
    yuv = np.stack([luma / 255, *(plane / 255 - 0.5 for plane in resized)], 2)
    return np.asarray((255 * colour.yuv2rgb(yuv).clip(0, 1)).astype(np.uint8))
