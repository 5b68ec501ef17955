"""Which times of a video are rendered. All times are exact, in seconds after the video's first frame."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol


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
        first = math.ceil((start - self.origin) * self.rate)
        last = math.ceil((end - self.origin) * self.rate)
        return [self.origin + i / self.rate for i in range(first, last)]

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
