"""What is shown from a frame until just before the next one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

# Results that are made at once: models share work among the times of an interval, and memory does not grow with them.
AT_ONCE = 8
# An interval this long, in seconds and in usual ones, is a pause: what files of a variable rate leave out stands still.
_PAUSE = Fraction(1, 2)
_PAUSE_STEPS = 3


@dataclass(frozen=True)
class Interval:
    """begin: until then the first frame stands, at the times `still`; pictures are made at the times `inner`."""

    begin: Fraction
    end: Fraction
    still: tuple[Fraction, ...]
    inner: tuple[Fraction, ...]

    def requests(self) -> Iterator[tuple[tuple[Fraction, ...], list[float]]]:
        """What a model is asked for in one call: times, and where they lie between its two frames, in [0, 1]."""
        length = self.end - self.begin
        for at in range(0, len(self.inner), AT_ONCE):
            some = self.inner[at : at + AT_ONCE]
            yield some, [float((time - self.begin) / length) for time in some]


def interval(start: Fraction, end: Fraction, times: Sequence[Fraction], step: Fraction | None) -> Interval:
    """Of a frame at `start`, the next one at `end`, and the times to render from there until just before.

    step: seconds between frames in most of the video; None: there are no pauses.
    """
    begin = start
    if step is not None and end - start > max(_PAUSE, _PAUSE_STEPS * step):
        begin = end - step  # until then it stands still
    still = tuple(time for time in times if time <= begin)
    return Interval(begin, end, still, tuple(time for time in times if time > begin))
