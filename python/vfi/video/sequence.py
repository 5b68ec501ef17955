"""Numbered images as a video."""

import itertools
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from vfi.errors import ArgumentError, UserError
from vfi.files.images import IMAGES, read_image
from vfi.video.encoder import RGB
from vfi.video.reader import TimedFrame, VideoInfo

_FIELD = re.compile(r"%0?(\d*)d")
_NUMBER = re.compile(r"\d+")
_SHOWN = 5  # gaps that are told one by one


def images_of(inputs: Sequence[Path], start: int | None) -> list[Path] | None:
    """The images of a sequence in their order; None: the inputs name none.

    Args:
        inputs: a name with %d (or %05d), a folder that holds images, or more than two images.
        start: the first number.
    """
    first = inputs[0]
    if len(inputs) > 2 and all(path.suffix.lower() in IMAGES for path in inputs):
        found = list(inputs)
    elif len(inputs) == 1 and not first.exists() and (field := _FIELD.search(first.name)):
        before, after = re.escape(first.name[: field.start()]), re.escape(first.name[field.end() :])
        named = re.compile(f"{before}(\\d{{{int(field[1] or 1)},}}){after}")
        numbers = {path: named.fullmatch(path.name) for path in _inside(first.parent)}
        found = sorted((path for path, match in numbers.items() if match), key=_number)
        if not found:
            raise UserError(f"no image is called {first}")
    elif len(inputs) == 1 and first.is_dir():
        found = sorted((path for path in _inside(first) if path.suffix.lower() in IMAGES), key=lambda p: _parts(p.name))
    else:
        return None
    kept = [path for path in found if start is None or _number(path) >= start]
    if found and not kept:
        last = max(map(_number, found))
        raise ArgumentError(f"`start_number` {start} is behind the last image of {first}, number {last}")
    return kept or None


def gaps(paths: Sequence[Path]) -> list[str]:
    """What is missing in the numbering, in words."""
    numbers = [_number(path) for path in paths]
    steps = [later - earlier for earlier, later in itertools.pairwise(numbers)]
    if not steps or min(steps) != 1:
        return []
    missing = [(a + 1, b - 1) for a, b in itertools.pairwise(numbers) if b - a > 1]
    told = [f"{first} to {last}" if last > first else str(first) for first, last in missing[:_SHOWN]]
    more = f" and {len(missing) - _SHOWN} more gaps" if len(missing) > _SHOWN else ""
    return [f"no images number {', '.join(told)}{more}"] if missing else []


class SequenceReader:
    """As `VideoReader`, of images: each is shown for as long, in their order, whatever their numbers.

    deep: 16 bits stay, in pictures of uint16.
    """

    demuxer = None
    origin, uneven = Fraction(0), 0

    def __init__(self, path: Path, images: Sequence[Path], rate: Fraction, *, deep: bool) -> None:
        self.path, self.rate, self._images, self._deep = path, rate, list(images), deep
        self.decoded = self.given = 0
        self._first = read_image(self._images[0])

    @property
    def info(self) -> VideoInfo:
        height, width = self._first.rgb.shape[:2]
        lost = ["the alpha channel is left out"] if self._first.had_alpha else []
        if self._first.rgb.dtype == np.uint16 and not self._deep:
            lost.append("the 16 bits per sample become 8")
        length = len(self._images) / self.rate
        pixels = "rgb48le" if self._deep and self._first.rgb.dtype == np.uint16 else "rgb24"
        return VideoInfo(
            width, height, self.rate, True, 1 / self.rate, Fraction(1), RGB, length, pixels=pixels, losses=tuple(lost)
        )

    def frames(
        self, start: Fraction | None = None, end: Fraction | None = None, seen_from: Fraction | None = None,
        *, next_too: bool = False,
    ) -> Iterator[TimedFrame]:  # fmt: skip
        """As `VideoReader.frames`; images before `seen_from` are not read."""
        for number, path in enumerate(self._images):
            time = number / self.rate
            if end is not None and time >= end:
                if next_too and self.given:
                    yield TimedFrame(time, Fraction(0), self._read(path))
                    self.given -= 1
                return
            if start is None or time >= start:
                until = time + 1 / self.rate if end is None else min(time + 1 / self.rate, end)
                hidden = seen_from is not None and time < seen_from
                yield TimedFrame(time, until - time, np.zeros((0, 0, 3), np.uint8) if hidden else self._read(path))

    def _read(self, path: Path) -> np.ndarray:
        self.decoded, self.given = self.decoded + 1, self.given + 1
        rgb = read_image(path).rgb
        if rgb.shape != self._first.rgb.shape:
            sizes = [f"{each.shape[1]}x{each.shape[0]}" for each in (rgb, self._first.rgb)]
            raise UserError(f"expected images of one size, got {path} of {sizes[0]} after {sizes[1]}")
        if self._deep and self._first.rgb.dtype == np.uint16:
            return rgb if rgb.dtype == np.uint16 else rgb.astype(np.uint16) * 257
        return rgb if rgb.dtype == np.uint8 else (rgb / 257).round().astype(np.uint8)

    def repairs(self) -> list[str]:
        return []

    def missing(self, *, whole: bool) -> list[str]:
        return gaps(self._images) if whole else []

    def close(self) -> None:
        """There is nothing to close."""


def _inside(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror or error}") from error


def _number(path: Path) -> int:
    """The last number in a name."""
    numbers = _NUMBER.findall(path.stem)
    return int(numbers[-1]) if numbers else 0


def _parts(name: str) -> list[tuple[int, str]]:
    """By which names are in the order of their numbers: 9 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
