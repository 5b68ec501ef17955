"""Pictures without compression, for the next program in a pipe: YUV4MPEG2."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from vfi.errors import UserError
from vfi.files.atomic import cannot_write, claimed, put_in_place
from vfi.video.alpha import from_pixels
from vfi.video.av_common import STREAM
from vfi.video.colours import FULL, bits_of, copied
from vfi.video.encoder import Picture, writable
from vfi.video.encodings import nearest

if TYPE_CHECKING:
    from av import VideoFrame

# What the head of a stream calls formats of samples.
_NAMES = {
    "yuv420p": "420mpeg2", "yuv422p": "422", "yuv444p": "444", "gray": "mono", "yuv411p": "411",
    **{f"yuv{chroma}p{bits}le": f"{chroma}p{bits}" for chroma in (420, 422, 444) for bits in (9, 10, 12, 14, 16)},
    **{f"gray{bits}le": f"mono{bits}" for bits in (9, 10, 12, 16)},
}  # fmt: skip


@dataclass(frozen=True)
class PlainFile:
    """A file that is open, and what it is called in sentences."""

    file: BinaryIO
    called: str


@contextmanager
def plain_file(output: Path) -> Iterator[PlainFile]:
    """Standard output, while prints go to standard error; or a file that gets its name when the work inside is done.

    Without a file of that name there now, one that appears meanwhile is not replaced.
    """
    if output == STREAM:
        with os.fdopen(os.dup(1), "wb") as file, redirect_stdout(sys.stderr):
            yield PlainFile(file, "to standard output")
        return
    replaces = output.exists()
    with claimed(output) as temporary:
        with temporary.open("wb") as file:
            yield PlainFile(file, str(output))
        try:
            put_in_place(temporary, output, lasting=True, replace=replaces)
        except OSError as error:
            raise cannot_write(output, error) from error


class Y4mWriter:
    """Frames at a constant rate to a file that is open, with the source's bits and chroma.

    The format does not tell the matrix of the colours: it stays that of the source.
    """

    def __init__(self, file: PlainFile, picture: Picture) -> None:
        self._file, self._called, self._picture = file.file, file.called, picture
        self._pixels = nearest(list(_NAMES), picture.pixels, "yuv420p")
        colour = writable(picture.colour, "rawvideo", self._pixels)
        # The format says this only of 8 bits, and of two places.
        wanted = "left" if self._pixels == "yuv420p" and colour.siting not in ("", "center") else colour.siting
        self._colour, self._same_siting = replace(colour, siting=wanted), wanted == colour.siting
        self.frames = 0

    def write(self, rgb: np.ndarray, time: Fraction, own: "VideoFrame | None" = None) -> None:
        """Adds a frame (H, W, 3), uint8 or uint16; own: as `Encoder.encode` has it. No frame tells its time."""
        same = copied(own, self._pixels, self._colour) if own is not None and self._same_siting else None
        frame = same if same is not None else from_pixels(rgb, self._pixels, self._colour)
        size = 2 if bits_of(frame.format) > 8 else 1
        planes = []
        for plane in frame.planes:
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height]
            planes.append(np.ascontiguousarray(rows[:, : plane.width * size]).tobytes())
        head = b"" if self.frames else self._head()
        try:
            self._file.write(head + b"FRAME\n" + b"".join(planes))
            self._file.flush()
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            raise UserError(f"cannot write {self._called}: {why}") from error
        self.frames += 1

    def _head(self) -> bytes:
        picture, kind = self._picture, _NAMES[self._pixels]
        kind = "420jpeg" if kind == "420mpeg2" and self._colour.siting in ("", "center") else kind
        rate, aspect = (f"{value.numerator}:{value.denominator}" for value in (picture.rate, picture.pixel_aspect))
        size = f"W{picture.width} H{picture.height} F{rate} Ip A{aspect}"
        reach = "FULL" if self._colour.range == FULL else "LIMITED"
        return f"YUV4MPEG2 {size} C{kind} XYSCSS={kind.upper()} XCOLORRANGE={reach}\n".encode()
