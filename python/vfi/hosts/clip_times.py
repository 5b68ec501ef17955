"""What each frame of a smoother clip shows, where any frame may be asked for in any order."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import Protocol

from vfi.errors import ArgumentError
from vfi.video.frame_times import nominal_rate
from vfi.video.intervals import interval
from vfi.video.timeline import FASTEST, MOST_TIMES, SLOWEST, Multiplied, Regular, Timeline, meant

_TICK = Fraction(1, 1000)  # seconds that durations are rounded to in most files


@dataclass(frozen=True)
class Shown:
    """What a frame shows: one of the clip's own, or a picture that is made between it and the next.

    Attributes:
        source: the clip's frame that it is, or that it comes after.
        time: seconds after that.
        duration: seconds.
        request: which call of the model, of those between the two frames, makes it; None: it is `source` itself.
        positions: what that call asks for, in [0, 1] between the two.
        place: which of these it is.
        first, last: whether it is the first, the last frame that shows `source` or comes after it.
    """

    source: int
    time: Fraction
    duration: Fraction
    request: int | None
    positions: tuple[float, ...] = ()
    place: int = 0
    first: bool = True
    last: bool = True


class ClipTimes(Protocol):
    """count: of the frames. rate: of them in a second; 0: it varies."""

    @property
    def count(self) -> int: ...

    @property
    def rate(self) -> Fraction: ...

    def source(self, number: int) -> int:
        """The clip's frame that this one shows or comes after."""

    def shown(self, number: int, duration: Fraction) -> Shown:
        """duration: of `source`, in seconds."""


class Starts(Protocol):
    """Times at which the frames of a clip begin, and the end of the last one: one more than there are frames."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Fraction: ...


@dataclass(frozen=True)
class Even:
    """Those of `count` frames at one rate."""

    rate: Fraction
    count: int

    def __len__(self) -> int:
        return self.count + 1

    def __getitem__(self, index: int, /) -> Fraction:
        return index / self.rate


@dataclass(frozen=True)
class Multiple:
    """A whole number of times as many frames, whatever the durations of the clip's `frames`. step: see `interval`."""

    frames: int
    factor: int
    rate: Fraction
    step: Fraction | None

    @property
    def count(self) -> int:
        return self.frames * self.factor

    def source(self, number: int) -> int:
        return number // self.factor

    def shown(self, number: int, duration: Fraction) -> Shown:
        source, place = divmod(number, self.factor)
        timeline, last = Multiplied(self.factor), source == self.frames - 1
        return _shown(timeline, source, (Fraction(0), duration), place, self.step, duration / self.factor, last)


@dataclass(frozen=True)
class Resampled:
    """`rate` frames in a second."""

    starts: Starts
    rate: Fraction
    step: Fraction | None

    @property
    def count(self) -> int:
        return len(Regular(self.rate).numbers(Fraction(0), self.starts[len(self.starts) - 1]))

    def source(self, number: int) -> int:
        return bisect_right(self.starts, Regular(self.rate).time(number)) - 1

    def shown(self, number: int, duration: Fraction) -> Shown:
        timeline, source = Regular(self.rate), self.source(number)
        span = self.starts[source], self.starts[source + 1]
        place, last = number - timeline.numbers(*span).start, source == len(self.starts) - 2
        return _shown(timeline, source, span, place, self.step, 1 / self.rate, last)


def _shown(
    timeline: Timeline, source: int, span: tuple[Fraction, Fraction], place: int, step: Fraction | None,
    duration: Fraction, last: bool,
) -> Shown:  # fmt: skip
    """The one at `place` of those that begin within `span`; last: no frame comes after `source`."""
    times = timeline.between(*span)
    time, ends = times[place], (place == 0, place == len(times) - 1)
    within = interval(*span, times, step)
    if not last and time not in within.still:
        for number, (some, positions) in enumerate(within.requests()):
            if time in some:
                at = some.index(time)
                return Shown(source, time - span[0], duration, number, tuple(positions), at, *ends)
    return Shown(source, time - span[0], duration, None, (), 0, *ends)


def clip_times(frames: int, rate: Fraction, durations: "Durations", factor: object, fps: object) -> ClipTimes:
    """What `factor` or `fps` asks for, of a clip.

    Args:
        frames: how many the clip has.
        rate: of them in a second; 0: it varies.
        durations: of the clip's frames, asked for where the rate varies.
        factor: how many times as many; 2 where neither is given.
        fps: frames in a second.

    Raises:
        ArgumentError: if both are given, or one is no number or out of bounds.
    """
    if factor is not None and fps is not None:
        raise ArgumentError("give only one of `factor` and `fps`")
    wanted = None if fps is None else meant(_number("fps", fps, SLOWEST, FASTEST))
    times = Fraction(2) if factor is None else _number("factor", factor, Fraction(1), MOST_TIMES)
    usual = rate or _usual_rate(durations(min(frames, 8)))
    if wanted is None and times.denominator == 1:
        return Multiple(frames, int(times), rate * int(times), 1 / usual)
    starts: Starts = Even(rate, frames) if rate else _added(durations(frames))
    return Resampled(starts, wanted or usual * times, 1 / usual)


class Durations(Protocol):
    def __call__(self, count: int) -> list[Fraction]:
        """Of the first frames of a clip, in seconds."""


def _usual_rate(durations: Sequence[Fraction]) -> Fraction:
    return nominal_rate(_added(durations)[:-1], _TICK, [])


def _added(durations: Sequence[Fraction]) -> list[Fraction]:
    starts = [Fraction(0)]
    for duration in durations:
        starts.append(starts[-1] + duration)
    return starts


def _number(name: str, value: object, least: Fraction, most: int) -> Fraction:
    try:
        number = Fraction(value) if isinstance(value, (Rational, float, str)) and not isinstance(value, bool) else None
    except (ValueError, ZeroDivisionError, OverflowError):  # also of infinity, and of what is no number
        number = None
    if number is None:
        raise ArgumentError(f"expected `{name}` to be a number or a fraction, got {value!r}")
    if not least <= number <= most:
        raise ArgumentError(f"expected `{name}` from {float(least):g} to {most}, got {value!r}")
    return number
