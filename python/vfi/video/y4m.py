"""Pictures without compression, for the next program in a pipe: YUV4MPEG2."""

import os
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from vfi.errors import UserError, require
from vfi.video.av_common import EXACT_CONVERSION
from vfi.video.encoder import MATRICES, Picture, writable


class Y4mWriter:
    """Frames at a constant rate to a file that is open, 8 bits with a quarter of the colours.

    The format does not tell the matrix of the colours: it stays that of the source.
    """

    def __init__(self, file: BinaryIO, picture: Picture) -> None:
        self._file, self._picture = file, picture
        self._colour = writable(picture.colour, "yuv420p")
        self.frames = 0

    def write(self, rgb: np.ndarray) -> None:
        """Adds a frame (H, W, 3), uint8."""
        frame = (
            require("av")
            .VideoFrame.from_ndarray(rgb, format="rgb24")
            .reformat(
                format="yuv420p",
                dst_colorspace=MATRICES.get(self._colour.matrix, 5),
                dst_color_range=self._colour.range or 1,
                interpolation=EXACT_CONVERSION,
            )
        )
        planes = []
        for plane in frame.planes:
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
            planes.append(np.ascontiguousarray(rows[:, : plane.width]).tobytes())
        head = b"" if self.frames else self._head()
        try:
            self._file.write(head + b"FRAME\n" + b"".join(planes))
            self._file.flush()
        except OSError as error:
            raise UserError(f"cannot write to standard output: {os.strerror(error.errno or 0).lower()}") from error
        self.frames += 1

    def _head(self) -> bytes:
        picture = self._picture
        rate, aspect = (f"{value.numerator}:{value.denominator}" for value in _both(picture))
        reach = "FULL" if self._colour.range == 2 else "LIMITED"
        size = f"W{picture.width} H{picture.height} F{rate} Ip A{aspect}"
        return f"YUV4MPEG2 {size} C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE={reach}\n".encode()


def _both(picture: Picture) -> tuple[Fraction, Fraction]:
    return picture.rate, picture.pixel_aspect
