"""What of a video did not come: packets and frames that are damaged, frames missing in between, and its end."""

from fractions import Fraction

from vfi.video.av_common import counted
from vfi.video.demux import TS_DISCONT, Demuxer

# Usual intervals: where frames are further apart, one may be missing. Films on television have some of 1.5.
_GAP = Fraction(8, 5)
# Formats that say how many frames they hold.
_COUNTED = ("avi", "mxf")


class Shortfall:
    """Counts, while a video is read: `damaged` packets, which cannot be decoded; `lost` frames, which the file does not
    hold any more; `spoilt` ones, which are there but not whole."""

    def __init__(self, demuxer: Demuxer) -> None:
        self._demuxer = demuxer
        self.damaged = self.lost = self.spoilt = 0

    def between(self, before: Fraction | None, after: Fraction | None, rate: Fraction) -> None:
        """Counts the frames missing between two, by their times on the file's clock."""
        self._count(before, after, rate, 1)

    def behind(self, last: Fraction | None, rate: Fraction) -> None:
        """Counts the frames missing after the last one, of which packets have come."""
        self._count(last, self._demuxer.holes.last, rate, 0)

    def _count(self, before: Fraction | None, after: Fraction | None, rate: Fraction, itself: int) -> None:
        if before is None or after is None or (after - before) * rate <= _GAP:
            return
        if self._demuxer.holes.explains(before, after):
            self.lost += round((after - before) * rate) - itself

    def sentences(self, origin: Fraction, reached: Fraction, rate: Fraction, *, whole: bool) -> list[str]:
        """What is missing, in words.

        origin: when the first frame is shown on the file's clock; reached: the last one, after it. whole: the video was
        read to its end.
        """
        said = [f"{counted(self.damaged, 'damaged packet')} of the video left out"] if self.damaged else []
        said += [f"{counted(self.lost, 'frame')} missing in between"] if self.lost else []
        said += [f"{counted(self.spoilt, 'frame')} damaged"] if self.spoilt else []
        if whole and (missing := self._missing(origin, reached, rate)):
            said.append(f"it ends {float(missing):.2f} seconds before its time: it was cut off or is damaged")
        if self._demuxer.failure is not None:
            said.append(f"it could not be read to its end: {self._demuxer.failure}")
        end = self._demuxer.holes.end() if whole else None
        return said + ([end] if end else [])

    def _missing(self, origin: Fraction, reached: Fraction, rate: Fraction) -> Fraction:
        """How many seconds the file promises that were not there; 0 where it promises none."""
        stream, container, step = self._demuxer.video, self._demuxer.container, 1 / rate
        least = max(2 * step, Fraction(1, 10))
        clock = stream.time_base or Fraction(1)
        if container.format.flags & TS_DISCONT:
            return Fraction(0)  # what these tell is an estimate
        begin = 0 if container.format.name == "asf" else stream.start_time or 0  # there it counts from 0
        end = (begin + stream.duration) * clock if stream.duration else None
        if container.format.name in _COUNTED and (end or stream.frames):
            begun = origin
            if container.format.name == "avi" and self._demuxer.holes.first is not None:
                begun = min(origin, self._demuxer.holes.first)  # frames that are not there may be counted before it
            end, least = begun + (stream.frames or (end or 0) * rate) * step, step / 2
        if end is not None:
            missing = end - origin - reached - step
        elif container.duration:
            missing = Fraction(container.duration, 1_000_000) - self._demuxer.reached
        else:
            return Fraction(0)
        return missing if missing > least else Fraction(0)
