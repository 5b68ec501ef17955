"""Animated WebP and AVIF, with alpha, by Pillow: FFmpeg reads the one not at all and the other without alpha."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vfi.errors import ArgumentError, UserError, require
from vfi.files.images import losses, seen_through
from vfi.files.opencv import MOST_PIXELS
from vfi.files.places import is_remote
from vfi.video.av_common import STREAM
from vfi.video.encoder import RGB
from vfi.video.reader import VideoInfo
from vfi.video.sequence import Read, Stills, into_images, pixels_of

_BY_PILLOW = ("WEBP", "AVIF")
_PNG = b"\x89PNG\r\n\x1a\n"
_HEAD = 8  # frames whose times are looked at before the first one is given
_BRIEF = Fraction(1, 10)  # seconds of a frame that says none, as browsers have it
_SUSPICIOUS, _PIXELS_PER_BYTE = 2**26, 1_000_000


def moves(path: Path) -> bool:
    """Whether a file that a still image might be is an animation: WebP, AVIF or PNG, whatever it is called."""
    kind = _said(path)
    return kind == "PNG" or (bool(kind) and _frames(path)[0] > 1)


def is_animation(path: Path) -> bool:
    """Whether it is one that is read here: an animated WebP, or an animated AVIF with alpha."""
    kind = _said(path)
    if kind not in _BY_PILLOW:
        return False
    frames, mode = _frames(path)
    return frames > 1 and (kind == "WEBP" or mode == "RGBA")


def _said(path: Path) -> str:
    """Which kind of animation the beginning of a file says it is; "": none of these."""
    if path == STREAM or is_remote(path) or not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            head = file.read(64)
            if head.startswith(_PNG):
                return "PNG" if _is_animated_png(file) else ""
    except OSError:
        return ""  # whoever reads it next says why
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
        return "WEBP" if head[20:21] and head[20] & 2 else ""
    return "AVIF" if head[4:8] == b"ftyp" and b"avis" in head[8 : int.from_bytes(head[:4], "big")] else ""


def _is_animated_png(file: BinaryIO) -> bool:
    """By the chunk that says how many frames there are, before the first picture."""
    file.seek(len(_PNG))
    while len(head := file.read(12)) == 12 and head[4:8] not in (b"IDAT", b"IEND"):
        if head[4:8] == b"acTL":
            return int.from_bytes(head[8:], "big") > 1
        file.seek(int.from_bytes(head[:4], "big"), os.SEEK_CUR)
    return False


def _frames(path: Path) -> tuple[int, str]:
    """How many frames Pillow sees, and of which mode."""
    try:
        with require("PIL.Image").open(path, formats=_BY_PILLOW) as file:
            return int(getattr(file, "n_frames", 1)), str(file.mode)
    except (OSError, SyntaxError, ValueError, RuntimeError, require("PIL.Image").DecompressionBombError):
        return 0, ""  # whoever reads it next says why


class AnimationReader(Stills):
    """As `VideoReader`, of such a file. target: what the frames are for; trusted: huge ones are read as well."""

    def __init__(self, path: Path, target: Path | None = None, *, trusted: bool = False) -> None:
        super().__init__(path)
        with _read_by_pillow(path):
            self._file = require("PIL.Image").open(path, formats=_BY_PILLOW)
        size = self._file.width * self._file.height
        if size > MOST_PIXELS:
            raise UserError(f"cannot read {path}: its frames have more than {MOST_PIXELS} pixels")
        if not trusted and size > max(_SUSPICIOUS, _PIXELS_PER_BYTE * path.stat().st_size):
            told = f"frames of {self._file.width}x{self._file.height} pixels in {path.stat().st_size} bytes"
            raise ArgumentError(f"cannot read {path}: {told}; add `trust_input` if that is meant")
        self._broken = 0
        self._shown = self._decode()
        self._head = list(islice(self._shown, _HEAD))
        if not self._head:
            raise UserError(f"cannot read {path}: no frame in it can be decoded")
        lengths = [duration for _, duration in self._head]
        self.rate = 1 / Counter(lengths).most_common(1)[0][0]
        self._even = len(set(lengths)) == 1
        first = self._head[0][0]
        self._losses = tuple(losses(first, target)) if target is not None and into_images(target) else ()

    @property
    def info(self) -> VideoInfo:
        first = self._head[0][0]
        return VideoInfo(
            first.shape[1], first.shape[0], self.rate, self._even, Fraction(1, 1000), Fraction(1), RGB, None,
            codec=self._file.format.lower(), pixels=pixels_of(first), losses=self._losses,
            alpha=any(seen_through(pixels) for pixels, _ in self._head),
        )  # fmt: skip

    def _moments(self) -> Iterator[tuple[Fraction, Fraction, Read]]:
        time = Fraction(0)
        for pixels, duration in chain(self._head, self._shown):
            yield time, duration, partial(_as_it_is, pixels)
            self.uneven += duration != 1 / self.rate
            time += duration

    def _decode(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        """Each picture, and for how long it is shown."""
        mode = "RGBA" if self._file.mode in ("RGBA", "LA", "PA") else "RGB"
        for number in range(self._file.n_frames):
            try:
                self._file.seek(number)
                self._file.load()
            except (OSError, SyntaxError, ValueError, EOFError):
                self._broken = self._file.n_frames - number
                return
            milliseconds = Fraction(self._file.info.get("duration") or 0).limit_denominator(1000)
            yield np.array(self._file.convert(mode)), milliseconds / 1000 or _BRIEF

    @property
    def count(self) -> int:
        """Frames that the file says it has."""
        return int(self._file.n_frames)

    def missing(self, *, whole: bool) -> list[str]:
        return [f"{self._broken} of {self._file.n_frames} frames cannot be decoded"] if self._broken else []

    def close(self) -> None:
        self._file.close()


def _as_it_is(pixels: np.ndarray) -> tuple[np.ndarray, None]:
    return pixels, None


@contextmanager
def _read_by_pillow(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SyntaxError, ValueError, RuntimeError, require("PIL.Image").DecompressionBombError) as error:
        raise UserError(f"cannot read {path}: it is damaged") from error
