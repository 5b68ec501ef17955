"""Frames of a video at the times of a timeline."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from torch import Tensor

from vfi.files.images import to_array, to_tensor
from vfi.models.interpolator import Interpolator, interpolate_many
from vfi.video.reader import TimedFrame
from vfi.video.scene_cuts import is_cut
from vfi.video.timeline import Timeline


@dataclass
class Renderer:
    """Renders a timeline and counts what it did."""

    model: Interpolator
    device: str
    timeline: Timeline
    scene_cuts: bool = True
    interpolated: int = 0
    repeated: int = 0
    cuts: int = 0
    _later: tuple[TimedFrame, Tensor] | None = field(default=None, init=False)

    def render(self, frames: Iterable[TimedFrame]) -> Iterator[tuple[np.ndarray, Fraction]]:
        """Pictures and their times. Across a scene cut, and after the last frame, the earlier frame is repeated."""
        earlier: TimedFrame | None = None
        for frame in frames:
            if earlier is not None:
                yield from self._interval(earlier, frame)
            earlier = frame
        if earlier is not None:
            for time in self.timeline.between(earlier.time, earlier.time + earlier.duration):
                self.repeated += time > earlier.time
                yield earlier.rgb, time

    def _interval(self, frame0: TimedFrame, frame1: TimedFrame) -> Iterator[tuple[np.ndarray, Fraction]]:
        """The pictures from frame0 until just before frame1."""
        times = self.timeline.between(frame0.time, frame1.time)
        inner = [time for time in times if time > frame0.time]
        if len(inner) < len(times):
            yield frame0.rgb, frame0.time
        cut = self.scene_cuts and is_cut(frame0.rgb, frame1.rgb)
        self.cuts += cut
        if cut or np.array_equal(frame0.rgb, frame1.rgb):
            self.repeated += len(inner)
            yield from ((frame0.rgb, time) for time in inner)
        elif inner:
            self.interpolated += len(inner)
            # The same tensor as before: a model may have encoded it already.
            known, tensor = self._later or (None, None)
            first = tensor if tensor is not None and known is frame0 else to_tensor(frame0.rgb, self.device)
            pair = first, to_tensor(frame1.rgb, self.device)
            self._later = frame1, pair[1]
            positions = [float((time - frame0.time) / (frame1.time - frame0.time)) for time in inner]
            for time, result in zip(inner, interpolate_many(self.model, *pair, positions), strict=True):
                yield to_array(result), time
