"""Which times of a video are rendered. All times are exact, in seconds after the video's first frame."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

SLOWEST, FASTEST = Fraction(1, 1000), 100_000  # frames per second, and times slower
MOST_TIMES = 1000  # as many frames


def meant(rate: Fraction) -> Fraction:
    """Frames per second that a number says: 59.94 and the like are their NTSC fraction."""
    ntsc = Fraction(round(rate) * 1000, 1001)
    return ntsc if rate.denominator > 1 and abs(rate - ntsc) < Fraction(1, 200) else rate.limit_denominator(100_000)


class Timeline(Protocol):
    def between(self, start: Fraction, end: Fraction) -> list[Fraction]:
        """The times to render in [start, end), where a frame appears at `start` and the next one at `end`."""

    def count(self, frames: Fraction, duration: Fraction) -> int:
        """About how many frames will be rendered, for the progress bar."""


@dataclass(frozen=True)
class Multiplied:
    """Every interval between frames divided into `factor` equal ones, whatever its length."""

    factor: int

    def between(self, start: Fraction, end: Fraction) -> list[Fraction]:
        return [start + (end - start) * i / self.factor for i in range(self.factor)]

    def count(self, frames: Fraction, duration: Fraction) -> int:
        return round(frames * self.factor)


@dataclass(frozen=True)
class Regular:
    """`rate` times a second, the first one at `origin`."""

    rate: Fraction
    origin: Fraction = Fraction(0)

    def between(self, start: Fraction, end: Fraction) -> list[Fraction]:
        return [self.time(number) for number in self.numbers(start, end)]

    def time(self, number: int) -> Fraction:
        return self.origin + number / self.rate

    def numbers(self, start: Fraction, end: Fraction) -> range:
        """Those of the times in [start, end)."""
        first, last = (math.ceil((time - self.origin) * self.rate) for time in (start, end))
        return range(first, last)

    def count(self, frames: Fraction, duration: Fraction) -> int:
        return round(duration * self.rate)


@dataclass(frozen=True)
class Listed:
    """Exactly these times, in growing order."""

    times: Sequence[Fraction]

    def between(self, start: Fraction, end: Fraction) -> list[Fraction]:
        return [time for time in self.times if start <= time < end]

    def count(self, frames: Fraction, duration: Fraction) -> int:
        return len(self.times)


@dataclass(frozen=True)
class Until:
    """Those of another timeline before `end`."""

    timeline: Timeline
    end: Fraction

    def between(self, start: Fraction, end: Fraction) -> list[Fraction]:
        return [time for time in self.timeline.between(start, end) if time < self.end]

    def count(self, frames: Fraction, duration: Fraction) -> int:
        return self.timeline.count(frames, duration)
