"""One clock for a file whose clock starts anew or jumps in the middle, such as joined transport streams."""

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av import Packet
    from av.stream import Stream

# Seconds. Decoding times never go back; muxers that round them a little do.
_BACKWARDS = Fraction(1, 10)
# A gap as long as this is a jump of the clock, where the format has such.
_JUMP = 10
# A stream that begins so far behind the others is on the clock that begins anew, before they are.
_LATE = 2


class Continuity:
    """Moves the times of packets, in the file's order, so that what follows a jump continues what was before it.

    All streams share the jumps of the clock: each one that arrives at a jump takes the shift that another found there,
    so that sound and picture stay in step.

    jumps: whether the format may jump ahead (MPEG); elsewhere a long gap is a pause.
    """

    def __init__(self, *, jumps: bool) -> None:
        self._jumps = jumps
        self._shifts = [Fraction(0)]
        self._streams: dict[int, _Position] = {}

    @property
    def repaired(self) -> int:
        """How often the clock jumped."""
        return len(self._shifts) - 1

    def move(self, packet: "Packet[Stream]") -> None:
        """Rewrites the packet's times."""
        known = self._streams.setdefault(packet.stream_index, _Position(len(self._shifts) - 1))
        if packet.dts is not None:  # times of display go to and fro
            time = packet.dts * packet.time_base
            shown = time if packet.pts is None else packet.pts * packet.time_base
            if not time - _BACKWARDS <= shown <= time + _JUMP:  # a guess of the demuxer, from before a jump
                time, packet.dts = shown, packet.pts
                known.last = known.shown
            if known.last is None and self._jumps:
                self._begin(known, time)
            if known.last is not None and self._breaks(known, known.last, time + self._shifts[known.segment]):
                self._continue(known, known.last, time)
            moved = self._shifts[known.segment]
            known.last = _later(known.last, time + moved)
            known.shown = _later(known.shown, shown + moved)
            known.length = (packet.duration or 0) * packet.time_base
        shift = round(self._shifts[known.segment] / packet.time_base)
        if shift:
            packet.dts = None if packet.dts is None else packet.dts + shift
            packet.pts = None if packet.pts is None else packet.pts + shift

    def _begin(self, known: "_Position", time: Fraction) -> None:
        """Of a stream that appears in the middle: where the others are, if it is far behind them."""
        ahead = max((other.last for other in self._streams.values() if other.last is not None), default=None)
        if ahead is not None and time + self._shifts[known.segment] < ahead - _LATE:
            self._shifts.append(ahead - time)
            known.segment = len(self._shifts) - 1

    def _breaks(self, known: "_Position", last: Fraction, time: Fraction) -> bool:
        if time < last - _BACKWARDS:
            return True
        if not self._jumps or time <= last + _JUMP:
            return False
        # Unless another stream has gone on all the while: then this one paused.
        others = (other.last for other in self._streams.values() if other is not known and other.last is not None)
        return all(other < time - Fraction(_JUMP, 2) for other in others)

    def _continue(self, known: "_Position", last: Fraction, time: Fraction) -> None:
        """Goes on with the shift of a later jump that fits, else with a new one."""
        for segment in range(known.segment + 1, len(self._shifts)):
            if -_BACKWARDS <= time + self._shifts[segment] - last < 1:
                known.segment = segment
                return
        self._shifts.append(last + known.length - time)
        known.segment = len(self._shifts) - 1


class _Position:
    """Where a stream is: after which jump, and the times of decoding and display that it has reached."""

    def __init__(self, segment: int) -> None:
        self.segment, self.length = segment, Fraction(0)
        self.last: Fraction | None = None
        self.shown: Fraction | None = None


def _later(known: Fraction | None, time: Fraction) -> Fraction:
    return time if known is None else max(known, time)
