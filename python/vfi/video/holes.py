"""Where bytes of a file are missing: what tells a pause of the picture from frames that were lost."""

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vfi.files.places import read_from
from vfi.video.endings import SYNC, sections_broken, transport_length, what_did_not_come, what_is_missing
from vfi.video.piped import Piped

if TYPE_CHECKING:
    from av import Packet
    from av.stream import Stream

# Packets of the picture that are remembered: more than decoders hold back.
_REMEMBERED = 256
# So many packets before a gap and behind are looked at: a frame that others refer to comes earlier than it is shown;
# counters begin anew after 16, those of the sound at another place.
_BEFORE, _BEHIND = 16, 2
# Bytes that containers put around a packet, and around several.
_AROUND, _AROUND_SEVERAL = 32, 64
_NO_PROGRAM = 0x1FFF  # packets that fill up
# Bytes of a packet of the picture in which its counter stands, which tells of what is missing before it.
_COUNTER = {"mpegts": 192}
_CHUNK = 8  # bytes of the head of a chunk of an AVI


@dataclass(frozen=True)
class _Mark:
    """A packet of the picture. least and most: bytes of all packets before it; those of subtitles may be packed. jumps:
    of the clock, before it."""

    time: Fraction | None
    place: int | None
    least: int
    most: int
    count: int
    jumps: int


class Holes:
    """Follows the packets of a file in their order; `picture`: the index of the video's stream."""

    def __init__(self, source: Path | Piped, container: str, picture: int) -> None:
        self._source, self._container, self._picture = source, container, picture
        self._marks: deque[_Mark] = deque(maxlen=_REMEMBERED)
        self.first: Fraction | None = None  # when the first packet of the picture is decoded
        self._least = self._most = self._count = 0
        self._behind: int | None = None  # the place behind the last packet of the picture
        self.last: Fraction | None = None  # when the last packet of the picture is shown

    def see(self, packet: "Packet[Stream]", jumps: int) -> None:
        """jumps: how often the file's clock has jumped."""
        if not packet.size:
            return
        if packet.stream_index == self._picture:
            stamp = packet.pts if packet.pts is not None else packet.dts
            time = None if stamp is None else stamp * packet.time_base
            if self.first is None and packet.dts is not None:
                self.first = packet.dts * packet.time_base
            if time is not None:
                self.last = time if self.last is None else max(self.last, time)
            self._marks.append(_Mark(time, packet.pos, self._least, self._most, self._count, jumps))
            self._behind = None if packet.pos is None else packet.pos + packet.size
        self._most += packet.size
        self._least += packet.size if packet.stream.type != "subtitle" else 0
        self._count += 1

    def explains(self, before: Fraction, after: Fraction) -> bool:
        """Whether frames are missing between those shown at these times, rather than that the picture pauses."""
        marks = list(self._marks)
        near = [number for number, mark in enumerate(marks) if mark.time is not None and before <= mark.time <= after]
        # Packets that came and of which no frame was made.
        if any(before < (marks[number].time or before) < after for number in near):
            return True
        places = marks[max(0, near[0] - _BEFORE) : near[-1] + 1 + _BEHIND] if near else []
        if not places or places[0].jumps != places[-1].jumps:
            return False  # there the files were joined
        if self._container == "mxf":
            return True  # all frames last equally long
        broken = _BROKEN.get(self._container)
        if broken is not None and not isinstance(self._source, Piped):
            known = [mark.place for mark in places if mark.place is not None]
            head = _CHUNK if self._container == "avi" else 0  # whose packets are told without it
            return len(known) > 1 and broken(_part(self._source, min(known) - head, max(known) - head))
        return any(map(_torn, places, places[1:]))

    def end(self) -> str | None:
        """What tells that the file is cut off; to be asked at its end."""
        places = [mark.place for mark in self._marks if mark.place is not None]
        place = places[-1] if places else None
        if isinstance(self._source, Piped):
            return what_did_not_come(self._source, self._container, place, self._behind)
        return what_is_missing(self._source, self._container, place, self._behind)


def _part(path: Path, begin: int, end: int) -> bytes:
    with read_from(path) as file:
        file.seek(begin)
        return file.read(end - begin)


def _torn(earlier: _Mark, later: _Mark) -> bool:
    """Whether there are more bytes between two packets than belong to packets, or fewer."""
    if earlier.place is None or later.place is None:
        return False
    between = later.place - earlier.place
    around = _AROUND_SEVERAL + _AROUND * (later.count - earlier.count)
    return between > later.most - earlier.most + around or between < later.least - earlier.least - around


def _packets_lost(stream: bytes) -> bool:
    """Whether a part of a transport stream is not whole: its packets are counted from 0 to 15, for each stream."""
    length, last = transport_length(stream), dict[int, int]()
    for start in range(length - 188 if length == 192 else 0, len(stream) - 187, length):
        head = stream[start : start + 6]
        program = (head[1] & 0x1F) << 8 | head[2]
        if head[0] != SYNC:
            return True
        if program == _NO_PROGRAM or not head[3] & 0x10:  # no payload: not counted
            continue
        count, known = head[3] & 0xF, last.get(program)
        begins_anew = head[3] & 0x20 and head[4] and head[5] & 0x80
        if known is not None and not begins_anew and count not in (known, (known + 1) % 16):
            return True
        last[program] = count
    return False


def _tags_broken(flash: bytes) -> bool:
    """Whether a part of a Flash file that begins with a tag is not whole: each tag is followed by its length."""
    at = 0
    while at + 11 < len(flash):
        length = 11 + int.from_bytes(flash[at + 1 : at + 4], "big")
        told = flash[at + length : at + length + 4]
        if len(told) == 4 and int.from_bytes(told, "big") != length:
            return True
        at += length + 4
    return False


def _chunks_broken(riff: bytes) -> bool:
    """Whether a part of an AVI that begins with a chunk is not whole: each tells its length.

    Empty ones stand for frames that are to be shown again.
    """
    at = 0
    while at + _CHUNK <= len(riff):
        if not riff[at : at + 4].strip(b" ").isalnum():
            return True
        length = int.from_bytes(riff[at + 4 : at + 8], "little")
        at += 12 if riff[at : at + 4] == b"LIST" else _CHUNK + length + length % 2
    return at != len(riff)


def _never_broken(_: bytes) -> bool:
    """Packets of ASF are filled up to one length: bytes between them tell nothing."""
    return False


# Of formats whose parts tell what follows: whether a piece is not whole.
_BROKEN = {
    "mpegts": _packets_lost,
    "mpeg": sections_broken,
    "flv": _tags_broken,
    "avi": _chunks_broken,
    "asf": _never_broken,
}
