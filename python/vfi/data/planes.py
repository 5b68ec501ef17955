"""Frames of files that hold samples as they are, YUV4MPEG2 or without any head: each is read by its number."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vfi.errors import UserError
from vfi.files.opencv import MOST_PIXELS

if TYPE_CHECKING:
    import numpy as np

Way = Literal["scaler", "skimage"]
_FRAME = b"FRAME\n"
_LONGEST = 4096  # bytes of a head
_PIXELS = {
    "420": "yuv420p",
    "420jpeg": "yuv420p",
    "420mpeg2": "yuv420p",
    "420paldv": "yuv420p",
    "420p10": "yuv420p10le",
}


@dataclass(frozen=True)
class PlaneFile:
    """Where frames of 4:2:0 lie in a file.

    way: how they become RGB of 8 bits. "scaler": as `ffmpeg -pix_fmt rgb24` does it, bicubic. "skimage": as benchmarks
    on the HD videos do it: full range, chroma resized by Pillow's bicubic filter, `skimage.color.yuv2rgb`, truncated.
    """

    path: Path
    width: int
    height: int
    pixels: str  # yuv420p or yuv420p10le
    way: Way
    begin: int = 0  # bytes before the first frame
    head: bytes = b""  # before each frame

    @property
    def samples(self) -> int:
        """Bytes of a sample."""
        return 1 if self.pixels == "yuv420p" else 2

    @property
    def step(self) -> int:
        """Bytes from a frame to the next."""
        chroma = -(-self.width // 2) * -(-self.height // 2)
        return len(self.head) + (self.width * self.height + 2 * chroma) * self.samples

    @property
    def count(self) -> int:
        """Whole frames in the file."""
        return max(0, self.path.stat().st_size - self.begin) // self.step


@dataclass(frozen=True)
class PlaneFrame:
    """A frame of such a file, by its number from 0."""

    file: PlaneFile
    number: int

    def __str__(self) -> str:
        return f"frame {self.number} of {self.file.path}"

    def is_file(self) -> bool:
        """Whether it is there."""
        return self.file.path.is_file() and self.number < self.file.count

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.file.height, self.file.width

    def read(self) -> "np.ndarray":
        """(H, W, 3) RGB, uint8.

        Raises:
            UserError: if the file is too short for it, or cannot be read.
        """
        from vfi.data.plane_pixels import rgb  # brings numpy

        return rgb(self.file, self.number)


def y4m(path: Path) -> PlaneFile:
    """The frames of a YUV4MPEG2 file of 4:2:0 in 8 or 10 bits.

    Raises:
        UserError: if it is none, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            line = file.readline(_LONGEST)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    name, *words = line.decode("ascii", "replace").split()[:64] or [""]
    told = {word[0]: word[1:] for word in words}
    width, height = (int(told.get(key, "")) if told.get(key, "").isdecimal() else 0 for key in "WH")
    if name != "YUV4MPEG2" or not line.endswith(b"\n") or not 0 < width * height <= MOST_PIXELS:
        raise UserError(f"cannot read {path}: expected a YUV4MPEG2 file")
    chroma = told.get("C", "420")
    if chroma not in _PIXELS:
        raise UserError(f"cannot read {path}: expected samples of {', '.join(_PIXELS)}, got {chroma}")
    return PlaneFile(path, width, height, _PIXELS[chroma], "scaler", len(line), _FRAME)
