"""Times of decoded frames that always grow, whatever the file says."""

import itertools
import statistics
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

# Rates that files mean when their clock is too coarse to say so.
_USUAL = tuple(
    rate
    for whole in (24, 30, 48, 60, 72, 96, 120, 144, 240)
    for rate in (Fraction(whole), Fraction(whole * 1000, 1001))
) + tuple(Fraction(whole) for whole in (1, 2, 5, 6, 8, 10, 12, 15, 16, 18, 20, 25, 50, 75, 100, 200, 300))
_MILLISECOND = Fraction(1, 1000)
# After so many times in a row that do not grow, the clock is taken to stand still or to have started anew.
_STUCK = 3


class BestStamps:
    """Presentation times where they are right, else decoding times: what FFmpeg calls the best-effort timestamp.

    A file without presentation times (H.264 in AVI) gives its decoding times as such; then they are out of order, and
    the decoding times of frames in their order of display are not.
    """

    def __init__(self, head: Sequence[tuple[Fraction | None, Fraction | None]]) -> None:
        """head: (pts, dts) of the first frames, in seconds."""
        shown, decoded = [pts for pts, _ in head if pts is not None], [dts for _, dts in head if dts is not None]
        self._shown_faults = len(head) if _falls(shown) and not _falls(decoded) else 0
        self._decoded_faults = 0
        self._last_shown = self._last_decoded = Fraction(-(2**62))

    @property
    def by_decoding(self) -> bool:
        return self._shown_faults > self._decoded_faults

    def of(self, pts: Fraction | None, dts: Fraction | None) -> Fraction | None:
        if dts is not None:
            self._decoded_faults += dts <= self._last_decoded
            self._last_decoded = dts
        if pts is not None:
            self._shown_faults += pts <= self._last_shown
            self._last_shown = pts
        return dts if pts is None or self.by_decoding else pts


def _falls(times: Sequence[Fraction]) -> bool:
    return any(later < earlier for earlier, later in itertools.pairwise(times))


class FrameTimes:
    """Seconds after `origin`. A time that is missing or does not grow is repaired, and counted.

    Args:
        origin: when the video's first frame appears on the file's clock.
        rate: frames per second, of most of the video.
        tick: the file's clock, in seconds: times are rounded to it, and meant to be at the rate where they are
            not further from it than that.
    """

    def __init__(self, origin: Fraction, rate: Fraction, tick: Fraction) -> None:
        self._step, self._tick = 1 / rate, tick
        self.repaired: Counter[str] = Counter()
        self._last: Fraction | None = None
        self._shift = -origin
        self._behind = 0

    def following(self, stamp: Fraction | None) -> Fraction:
        """The time of the next frame, which the file shows at `stamp`."""
        if self._last is None:
            # Of a file that was searched it is not the first one: it is where it would be had all before been read.
            self._last = self._at_the_rate(Fraction(0), Fraction(0) if stamp is None else stamp + self._shift, 0)
        elif stamp is None:
            self.repaired["without a time"] += 1
            self._last += self._step
        else:
            self._last = self._after(self._last, stamp)
        return self._last

    def _after(self, last: Fraction, stamp: Fraction) -> Fraction:
        time = self._at_the_rate(last, stamp + self._shift, 1)
        if time > last:
            self._behind = 0
            return time
        self._behind += 1
        self.repaired["with a time that does not grow"] += 1
        if self._behind < _STUCK and last - time < 8 * self._step:
            return last + self._step / Fraction(2**self._behind)
        self._shift = last + self._step - stamp
        return last + self._step

    def _at_the_rate(self, last: Fraction, time: Fraction, least: int) -> Fraction:
        """A time that is meant: so many frames after `last`, if it is near that."""
        meant = last + max(least, round((time - last) / self._step)) * self._step
        return meant if abs(meant - time) <= self._tick else time


def rounded_to(stamps: Sequence[Fraction | None], clock: Fraction) -> Fraction:
    """What times are rounded to: the file's clock, or milliseconds in one that was made of a Matroska file as it is."""
    known: list[Fraction] = [stamp for stamp in stamps if stamp is not None]
    steps = {later - earlier for earlier, later in itertools.pairwise(known)}
    coarse = len(steps) > 1 and all((step * 1000).denominator == 1 for step in steps)
    return _MILLISECOND if coarse and clock < _MILLISECOND else clock


def nominal_rate(
    stamps: Sequence[Fraction | None], tick: Fraction, told: Sequence[Fraction | None], *, of_rounded: bool = False
) -> Fraction:
    """Frames per second of most of a video.

    Args:
        stamps: times of the first frames, as far as they are known.
        told: what the file says itself, the more trustworthy first. Screen recordings tell the rate of their clock,
            raw streams that of another file.
        of_rounded: what it tells is the mean of times that were rounded before.

    Returns:
        what the file tells, if its first frames agree; else their own, a usual one where it is within a tick; 25
        where nothing is known.
    """
    known: list[Fraction] = [stamp for stamp in stamps if stamp is not None]
    steps = [later - earlier for earlier, later in itertools.pairwise(known) if later > earlier]
    rates = [_exact(rate) for rate in told if rate and rate > 0]
    if len(steps) < 2:
        return rates[0] if rates else Fraction(25)
    if of_rounded:
        rates.sort(key=lambda rate: rate not in _USUAL)
    elif set(steps) == {tick} and tick != _MILLISECOND:
        return 1 / tick  # a clock that was made for the rate, which FFmpeg rounds: 119 to 120
    middle, mean = Fraction(statistics.median_low(steps)), Fraction(sum(steps)) / len(steps)
    for rate in rates:
        if abs(1 / rate - middle) <= tick or abs(rate * mean - 1) < Fraction(1, 100):
            return rate
    usual = _nearest_usual(1 / mean)
    if abs(1 / usual - middle) <= tick:
        return usual
    for rate in rates:
        if Fraction(4, 5) < rate * middle < Fraction(5, 4):
            return rate
    return (1 / middle).limit_denominator(1001)


def _nearest_usual(rate: Fraction) -> Fraction:
    return min(_USUAL, key=lambda usual: abs(usual / rate - 1))


def _exact(rate: Fraction) -> Fraction:
    """The usual rate that a rounded one means: 19001/317 is 60000/1001."""
    near = _nearest_usual(rate)
    return near if abs(near / rate - 1) < Fraction(1, 50_000) else rate
