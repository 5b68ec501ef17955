"""Numbered images as a video."""

import contextlib
import fnmatch
import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from vfi.errors import ArgumentError, UserError, require
from vfi.files.damage import Damaged
from vfi.files.film_images import placed
from vfi.files.images import (
    IMAGES,
    Image,
    as_kind,
    for_video,
    held,
    is_image_name,
    losses,
    losses_in_video,
    read_image,
    seen_through,
    with_alpha,
)  # fmt: skip
from vfi.video.av_common import counted
from vfi.video.colours import bits_of
from vfi.video.containers import ANIMATIONS
from vfi.video.encoder import RGB
from vfi.video.reader import TimedFrame, VideoInfo

_FIELD = re.compile(r"%0?(\d*)d")
_WILD = re.compile(r"[*?[]")
_NUMBER = re.compile(r"\d+")
_NOTHING = np.zeros((0, 0, 3), np.uint8)
_SHOWN = 5  # gaps that are told one by one
_LOOKED_AT = 8  # images that are read before for what may be seen through
_LEAVE_OUT = (".png", ".webp", ".avif")  # files that some programs write without an alpha that is 1 everywhere


def images_of(inputs: Sequence[Path], start: int | None) -> list[Path] | None:
    """The images of a sequence in their order; None: the inputs name none.

    Args:
        inputs: a name with %d (or %05d), one with * or ? or [], a folder that holds images, or more than two images.
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
    elif len(inputs) == 1 and not first.exists() and _WILD.search(first.name) and first.suffix.lower() in IMAGES:
        found = [path for path in _inside(first.parent) if fnmatch.fnmatchcase(path.name, first.name)]
        found.sort(key=lambda path: _parts(path.name))
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


def into_images(output: Path) -> bool:
    """Whether a video becomes numbered images, not an animation or a video."""
    return is_image_name(output) and (output.suffix.lower() not in ANIMATIONS or bool(_FIELD.search(output.name)))


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


Read = Callable[[], tuple[np.ndarray, Image | None] | None]  # None: it cannot be read


class Stills(ABC):
    """What readers of images have in common with `VideoReader`."""

    demuxer = None
    origin = Fraction(0)
    uneven = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.decoded = self.given = 0

    @abstractmethod
    def _moments(self) -> Iterator[tuple[Fraction, Fraction, Read]]:
        """When each image appears, for how long, and what reads it."""

    def frames(
        self, start: Fraction | None = None, end: Fraction | None = None, seen_from: Fraction | None = None,
        *, next_too: bool = False,
    ) -> Iterator[TimedFrame]:  # fmt: skip
        """As `VideoReader.frames`. An image that cannot be read leaves its time to the one before."""
        for time, duration, read in self._moments():
            beyond = end is not None and time >= end
            if beyond and not (next_too and self.given):
                return
            if not beyond and start is not None and time < start:
                continue
            if (picture := read()) is None:
                continue
            self.decoded += 1
            if beyond:
                yield TimedFrame(time, Fraction(0), *picture)
                return
            until = time + duration if end is None else min(time + duration, end)
            self.given += 1
            hidden = seen_from is not None and time < seen_from
            yield TimedFrame(time, until - time, *((_NOTHING, None) if hidden else picture))

    def repairs(self) -> list[str]:
        return []

    def faults(self) -> list[str]:
        """What is to be said of single images, in words, once they have been read."""
        return []

    @abstractmethod
    def missing(self, *, whole: bool) -> list[str]:
        """As `VideoReader.missing`."""


class SequenceReader(Stills):
    """As `VideoReader`, of images: each is shown for as long, in their order, whatever their numbers. Those that cannot
    be read are left out; before the first of the others there is nothing. `unread`: why each of them cannot be.

    target: what they are for: pictures are of numbers that it holds, of a video 8 or 16 bits; None: as they are. kind:
    these instead.
    """

    def __init__(
        self, path: Path, images: Sequence[Path], rate: Fraction, target: Path | None, kind: np.dtype | None = None
    ) -> None:
        super().__init__(path)
        self.rate, self.images, self._cut = rate, list(images), 0
        self.unread: dict[Path, str] = {}
        self._damaged: dict[Path, str] = {}
        self.first = first = self._beginning()
        self._losses = list(first.lost)
        self._alpha = self._is_seen_through()
        self._has_alpha = first.had_alpha or self._alpha
        to_images = target is not None and into_images(target)
        self._dropped, self._drops_alpha = 0, not (self._alpha or (first.had_alpha and to_images))
        if target is None:
            self._kind = first.pixels.dtype
        elif to_images:
            self._kind = kind or held(target, first.pixels.dtype)
            self._losses += losses(first.pixels, target)
        else:
            self._kind = for_video(first.pixels[:1, :1]).dtype
            self._losses += losses_in_video(first.pixels)

    def _beginning(self) -> Image:
        """The first image that can be read; those before it are as if they were not there."""
        for number, path in enumerate(self.images):
            if (image := self._image(path)) is not None:
                self._shown = self.images[number:]
                return image
        count, why = counted(len(self.unread), "image"), next(iter(self.unread.values()))
        raise UserError(why if len(self.unread) == 1 else f"of {count} none can be read, from the first on: {why}")

    def _image(self, path: Path) -> Image | None:
        try:
            image = read_image(path)
        except Damaged as error:
            self.unread[path] = str(error)
            return None
        if image.damage:
            self._damaged[path] = image.damage
        return image

    def _is_seen_through(self) -> bool:
        """By the first image, and by some of the others: a picture may be opaque before it fades."""
        may = self.first.had_alpha or self._shown[0].suffix.lower() in _LEAVE_OUT
        if seen_through(self.first.pixels) or not may:
            return may
        for path in self._shown[:: max(1, len(self._shown) // _LOOKED_AT)]:
            with contextlib.suppress(Damaged):  # told when it is read in its turn
                if seen_through(read_image(path).pixels):
                    return True
        return False

    @property
    def info(self) -> VideoInfo:
        height, width = self.first.pixels.shape[:2]
        length = len(self._shown) / self.rate
        header = self.first.header
        aspect = Fraction(header.pixel_aspect).limit_denominator(1000) if header is not None else Fraction(1)
        return VideoInfo(
            width, height, self.rate, True, 1 / self.rate, aspect, RGB, length,
            pixels=pixels_of(self._with_alpha(self.first.pixels[:1, :1]).astype(self._kind)),
            losses=tuple(self._losses), alpha=self._alpha,
        )  # fmt: skip

    def _moments(self) -> Iterator[tuple[Fraction, Fraction, Read]]:
        for number, path in enumerate(self._shown):
            yield number / self.rate, 1 / self.rate, partial(self._read, path)

    def _read(self, path: Path) -> tuple[np.ndarray, Image] | None:
        image, first = self._image(path), self.first
        if image is None:
            return None
        if image.header is not None and first.header is not None and image.header.shown == first.header.shown:
            self._cut += image.header.reaches_beyond(first.header)
            pixels = placed(image.pixels, image.header.window, first.header.window)
            image = replace(image, pixels=pixels, header=replace(image.header, window=first.header.window))
        if image.pixels.shape[:2] != first.pixels.shape[:2]:
            sizes = [f"{each.pixels.shape[1]}x{each.pixels.shape[0]}" for each in (image, first)]
            raise UserError(f"expected images of one size, got {path} of {sizes[0]} after {sizes[1]}")
        self._dropped += self._drops_alpha and seen_through(image.pixels)
        return as_kind(np.ascontiguousarray(self._with_alpha(image.pixels)), self._kind), image

    def _with_alpha(self, pixels: np.ndarray) -> np.ndarray:
        return with_alpha(pixels) if self._has_alpha else pixels[..., :3]

    def faults(self) -> list[str]:
        said = []
        for images, what in ((self.unread, "cannot be read"), (self._damaged, "damaged, and taken as decoded")):
            if images:
                known = itertools.islice(images.items(), _SHOWN)
                names = [f"{path.name} ({why.removeprefix(f'cannot read {path}: ')})" for path, why in known]
                names += [f"{len(images) - _SHOWN} more"] if len(images) > _SHOWN else []
                said.append(f"{counted(len(images), 'image')} {what}: {', '.join(names)}")
        if self._dropped:
            said.append(f"the alpha channel of {counted(self._dropped, 'image')} is left out: the first has none")
        return said

    def missing(self, *, whole: bool) -> list[str]:
        said = gaps(self.images) if whole else []
        said += [f"{counted(self._cut, 'image')} cut off at the windows of the first one"] if self._cut else []
        said += [f"{counted(len(self.unread), 'image')} left out"] if self.unread else []
        return said + ([f"{counted(len(self._damaged), 'image')} damaged"] if self._damaged else [])

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


def pixels_of(pixels: np.ndarray) -> str:
    """The format of samples of such pictures, by FFmpeg's name."""
    eight = pixels.dtype == np.uint8
    return ("rgb24" if eight else "rgb48le") if pixels.shape[2] == 3 else ("rgba" if eight else "rgba64le")


def kind_of(pixels: str | None) -> tuple[np.dtype | None, str]:
    """The numbers of images that a format of samples by FFmpeg's name asks for, and what they are in an EXR."""
    if pixels is None:
        return None, ""
    try:
        wanted = require("av").VideoFormat(pixels)
    except ValueError as error:
        raise ArgumentError(f"expected `pixel_format` rgb24, rgb48, gbrpf16 or gbrpf32, got {pixels!r}") from error
    if "f16" in wanted.name or "f32" in wanted.name:
        return np.dtype(np.float32), "half" if "f16" in wanted.name else "float"
    return np.dtype(np.uint16 if bits_of(wanted) > 8 else np.uint8), ""
