"""Frames of a video at the times of a timeline."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain

import numpy as np

from vfi.commands.workers import Workers
from vfi.video.intervals import interval
from vfi.video.reader import TimedFrame
from vfi.video.scene_cuts import SceneCuts
from vfi.video.segments import Segment
from vfi.video.timeline import Timeline

# A picture, its time, and the frame that it is or that it comes after.
Rendered = tuple[np.ndarray, Fraction, TimedFrame]


@dataclass(frozen=True)
class _Shown:
    """What will be a `Rendered`: a picture, or those that are made, of which it is the next one. begins, counted: see
    `Renderer`."""

    picture: np.ndarray | Iterator[np.ndarray]
    time: Fraction
    frame: TimedFrame
    begins: Fraction
    counted: tuple[int, int, int]


@dataclass
class Renderer:
    """Renders a timeline and counts what it did.

    scene_cuts: whether cuts are looked for, or the times at which scenes begin.
    step: seconds between frames in most of the video; None: there are no pauses.
    lead: seconds for which the first frame is held before its time. unseen: frames that no time of the timeline lies
    beside. since: the time of a frame; what lies before it is not rendered any more, and not counted but in unseen.
    begins: the time of the frame from which on pictures are being given; counted: what was, up to there. met: times of
    `scene_cuts` at which there is a frame.
    """

    workers: Workers
    timeline: Timeline
    scene_cuts: bool | Sequence[Fraction] = True
    step: Fraction | None = None
    lead: Fraction = Fraction(0)
    since: Fraction | None = None
    begins: Fraction = Fraction(0)
    counted: tuple[int, int, int] = (0, 0, 0)
    interpolated: int = 0
    repeated: int = 0
    cuts: int = 0
    unseen: int = 0
    met: set[Fraction] = field(default_factory=set)
    _part: tuple[Fraction, tuple[int, int, int]] = field(default=(Fraction(0), (0, 0, 0)), init=False)

    def render(self, frames: Iterable[TimedFrame]) -> Iterator[Rendered]:
        """Pictures and their times. Across a scene cut, and after the last frame, the earlier frame is repeated."""
        waiting: deque[_Shown] = deque()
        for shown in self._shown(frames):
            waiting.append(shown)
            while waiting and (isinstance(waiting[0].picture, np.ndarray) or _asked(waiting) > self.workers.ahead):
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _next(self, waiting: deque[_Shown]) -> Rendered:
        shown = waiting.popleft()
        self.begins, self.counted = shown.begins, shown.counted
        picture = shown.picture if isinstance(shown.picture, np.ndarray) else next(shown.picture)
        return picture, shown.time, shown.frame

    def _shown(self, frames: Iterable[TimedFrame]) -> Iterator[_Shown]:
        earlier: TimedFrame | None = None
        seen = False
        for frame, begins in self._marked(frames):
            if earlier is None:
                if self.lead and self.since is None:
                    self._part = frame.time, (0, 0, 0)
                    yield from self._held(frame, frame.time - self.lead, frame.time)
                seen = True
            else:
                times = self.timeline.between(earlier.time, frame.time)
                if self._goes_on(earlier.time):
                    yield from self._interval(earlier, frame, times, begins)
                self.unseen += not seen and not times
                seen = bool(times) and times[-1] > earlier.time
            earlier = frame
        if earlier is not None:
            end = earlier.time + earlier.duration
            self.unseen += end > earlier.time and not seen and not self.timeline.between(earlier.time, end)
            if self._goes_on(earlier.time):
                yield from self._held(earlier, earlier.time, end)

    @property
    def all_counted(self) -> tuple[int, int, int]:
        """Once all is rendered."""
        return self.interpolated, self.repeated, self.cuts

    def go_on(self, segment: Segment, since: Fraction | None) -> None:
        """From where an earlier run has come to; None: to its end."""
        self.interpolated, self.repeated, self.cuts = segment.interpolated, segment.repeated, segment.cuts
        self.since = since if since is not None else Fraction(2**62)

    def _goes_on(self, begins: Fraction) -> bool:
        """Whether what begins at this time is to be rendered."""
        if self.since is not None and begins < self.since:
            return False
        self._part = begins, (self.interpolated, self.repeated, self.cuts)
        return True

    def _marked(self, frames: Iterable[TimedFrame]) -> Iterator[tuple[TimedFrame, bool]]:
        """Each frame, and whether a scene begins with it."""
        if self.scene_cuts is not True:
            listed, near = list(self.scene_cuts or ()), (self.step or Fraction(1, 25)) / 2
            for frame in frames:
                here = [time for time in listed if abs(time - frame.time) < near]
                self.met.update(here)
                yield frame, bool(here)
            return
        left = iter(frames)
        for frame in left:
            if frame.rgb.size:
                yield from SceneCuts().marked(chain([frame], left), lambda frame: frame.rgb)
            else:
                yield frame, False  # of an earlier run, without its picture

    def _held(self, frame: TimedFrame, start: Fraction, end: Fraction) -> Iterator[_Shown]:
        for time in self.timeline.between(start, end):
            self.repeated += time != frame.time
            yield _Shown(frame.rgb, time, frame, *self._part)

    def _interval(
        self, frame0: TimedFrame, frame1: TimedFrame, times: Sequence[Fraction], cut: bool
    ) -> Iterator[_Shown]:
        """The pictures from frame0 until just before frame1, which begins a scene if `cut`."""
        shown = interval(frame0.time, frame1.time, times, self.step)
        inner = shown.inner
        self.repeated += sum(time > frame0.time for time in shown.still)
        yield from (_Shown(frame0.rgb, time, frame0, *self._part) for time in shown.still)
        self.cuts += cut
        if cut or np.array_equal(frame0.rgb, frame1.rgb):
            self.repeated += len(inner)
            yield from (_Shown(frame0.rgb, time, frame0, *self._part) for time in inner)
        elif inner:
            self.interpolated += len(inner)
            for some, positions in shown.requests():
                pictures = self.workers.between(frame0.rgb, frame1.rgb, positions)
                yield from (_Shown(pictures, time, frame0, *self._part) for time in some)


def _asked(waiting: Iterable[_Shown]) -> int:
    """How many requests to the workers are among them."""
    return len({id(shown.picture) for shown in waiting if not isinstance(shown.picture, np.ndarray)})
