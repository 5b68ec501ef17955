"""Interlaced pictures: two halves, of odd and even rows, from two moments; found by flags and combs, and undone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from vfi.errors import require
from vfi.video.av_common import pulled

if TYPE_CHECKING:
    from av import VideoFrame

Deinterlace = Literal["auto", "off", "bob", "bwdif"]
Scan = Literal["progressive", "interlaced", "telecined"]
# Of 255: what a row must differ by from both of its neighbours to be part of a comb.
_DIFFERENCE = 10
# Shares of pixels in combs; in pictures that are no combs fine detail makes some, as many between rows of one half.
_LEAST, _TIMES = 0.01, 2.5
_EVERY_COLUMN = 2
_CYCLE = 5  # frames of 3:2 pulldown, of which two are combs


def is_combed(frame: "VideoFrame") -> bool:
    """Whether every second row shows another moment. Of RGB and palettes none does: what looks so is dithered."""
    if frame.format.is_rgb or frame.format.has_palette:
        return False
    luma = _luma(frame)
    if luma is None or luma.shape[0] < 8:
        return False
    between, within = _combs(luma, 1), _combs(luma, 2)
    return between > max(_LEAST, _TIMES * within)


def _luma(frame: "VideoFrame") -> np.ndarray | None:
    """The first plane, in 8 bits, or None of packed samples."""
    pixels = frame.format
    if (not pixels.is_planar and len(pixels.components) > 1) or pixels.has_palette:
        frame = frame.reformat(format="gray")
        pixels = frame.format
    plane, bits = frame.planes[0], pixels.components[0].bits
    samples: np.ndarray = np.frombuffer(memoryview(plane), np.dtype("<u2" if bits > 8 else "u1"))
    rows = samples.reshape(plane.height, -1)[:, : plane.width : _EVERY_COLUMN]
    return (rows >> max(0, bits - 8)).astype(np.int16)


def _combs(luma: np.ndarray, apart: int) -> float:
    """The share of pixels that differ to the same side from those so many rows above and below."""
    above, below = luma[apart:-apart] - luma[: -2 * apart], luma[apart:-apart] - luma[2 * apart :]
    return float(((np.minimum(abs(above), abs(below)) > _DIFFERENCE) & ((above > 0) == (below > 0))).mean())


@dataclass(frozen=True)
class Interlacing:
    """What is done with the halves of pictures: nothing, one whole frame of two ("bwdif"), or one of each ("bob").

    found: what the pictures are; None: nobody has looked.
    """

    mode: Deinterlace
    note: str | None = None
    found: Scan | None = None

    @classmethod
    def of(cls, head: "Sequence[VideoFrame]", asked: Deinterlace | None) -> "Interlacing":
        """As it is asked for; "auto" looks at the flags of the first frames, and whether most of them are combs.

        None: nothing is done, and nobody looks.
        """
        if asked is None:
            return cls("off")
        combed = [is_combed(frame) for frame in head]
        if is_telecined(combed):
            film = "the pictures look telecined (film spread over fields): undo that first, as with "
            film += "ffmpeg -vf fieldmatch,decimate"
            return cls("off" if asked in ("auto", "off") else asked, film, "telecined")
        if not any(frame.interlaced_frame for frame in head) and sum(combed) <= len(head) / 2:
            return cls("off" if asked == "auto" else asked, None, "progressive")
        if asked == "off":
            return cls("off", "the pictures are interlaced, and their combs stay", "interlaced")
        made = "one frame is made of each half" if asked == "bob" else "one frame is made of two halves"
        return cls("bob" if asked == "bob" else "bwdif", f"the pictures are interlaced: {made}", "interlaced")

    @property
    def faster(self) -> int:
        """How many times as many frames there are."""
        return 2 if self.mode == "bob" else 1

    def whole(self, frames: "Iterable[VideoFrame]") -> "Iterator[VideoFrame]":
        """Frames whose rows are of one moment, by FFmpeg's bwdif."""
        filtered: _Filter | None = None
        for frame in frames:
            if self.mode == "off":
                yield frame
                continue
            filtered = filtered or _Filter(frame, self.mode == "bob")
            yield from filtered.push(frame)
        if filtered is not None:
            yield from filtered.push(None)


def is_telecined(combed: Sequence[bool]) -> bool:
    """Whether two of every five frames are combs: film that was spread over the fields of 60 per second."""
    windows = [combed[first : first + _CYCLE] for first in range(len(combed) - _CYCLE + 1)]
    return bool(windows) and all(sum(window) == 2 for window in windows)


class _Filter:
    """It holds back one frame. Frames are numbered on their way, for it loses the times of decoding."""

    def __init__(self, first: "VideoFrame", every_field: bool) -> None:
        self._graph = graph = require("av").filter.Graph()
        source = graph.add_buffer(
            width=first.width, height=first.height, format=first.format.name, time_base=Fraction(1, 2)
        )
        mode = "send_field" if every_field else "send_frame"
        filtering, sink = graph.add("bwdif", f"mode={mode}:deint=all"), graph.add("buffersink")
        source.link_to(filtering)
        filtering.link_to(sink)
        graph.configure()
        self._count = 0
        self._times: list[tuple[int | None, int | None, Fraction]] = []  # of the last three frames

    def push(self, frame: "VideoFrame | None") -> "Iterator[VideoFrame]":
        if frame is not None:
            self._times = [*self._times[-2:], (frame.pts, frame.dts, frame.time_base or Fraction(1))]
            frame.pts, self._count = self._count, self._count + 1
        self._graph.push(frame)
        for ready in pulled(self._graph):
            yield self._timed(cast("VideoFrame", ready))

    def _timed(self, ready: "VideoFrame") -> "VideoFrame":
        """The frame with the times of that which it was made of; of a second half, between that and the next."""
        number, second = divmod(ready.pts or 0, 2)
        place = number - self._count  # from the end
        this, base = self._times[place], self._times[place][2]
        ahead = place + 1 < 0
        other = self._times[place + 1] if ahead else self._times[max(place - 1, -len(self._times))]
        ready.pts, ready.dts = (_half(a, b, second, ahead) for a, b in zip(this[:2], other[:2]))
        ready.time_base = base / 2
        return ready


def _half(stamp: int | None, other: int | None, second: int, ahead: bool) -> int | None:
    """A stamp in units half as long; half way to the next, or half of the last step further."""
    if stamp is None or not second:
        return None if stamp is None else 2 * stamp
    return 2 * stamp + (0 if other is None else other - stamp if ahead else stamp - other)
