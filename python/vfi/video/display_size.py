"""The shape of a pixel in Matroska and WebM, of codecs whose streams do not say it.

It is put into the file's head afterwards, because PyAV does not tell the muxer.
"""

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from vfi.errors import UserError

# What the title of the video's track is until then: it gives its room.
PLACEHOLDER = "shape of a pixel".ljust(48, ".")
_SEGMENT, _TRACKS, _ENTRY, _NAME, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0x536E, 0xE0
_WIDTH, _HEIGHT, _UNIT = 0x54B0, 0x54BA, 0x54B2
_CHECKSUM, _VOID = 0xBF, 0xEC
_HEAD = 1 << 20  # bytes in which the tracks are told

Element = tuple[int, bytes]


def set_display_size(path: Path, size: tuple[int, int], aspect: Fraction) -> None:
    """Of the track that is called as `PLACEHOLDER`. size: width and height in pixels; aspect: of a pixel."""
    with path.open("rb+") as file:
        head = file.read(_HEAD)
        begin, end = next(_found(head, 0, len(head), (_SEGMENT, _TRACKS)), (0, 0))
        if not 0 < end <= len(head):
            raise UserError(f"{path}: expected the tracks in the head of the file, got none")
        tracks = bytearray(head[begin:end])
        places = list(_places(tracks, 0, len(tracks)))
        for kind, start, stop in places:
            if kind == _ENTRY:
                tracks[start:stop] = _with_size(bytes(tracks[start:stop]), size, aspect)
        kind, start, stop = places[0]
        if kind == _CHECKSUM:
            tracks[start:stop] = zlib.crc32(tracks[stop:]).to_bytes(4, "little")
        file.seek(begin)
        file.write(tracks)


def _with_size(entry: bytes, size: tuple[int, int], aspect: Fraction) -> bytes:
    elements = list(_elements(entry))
    if (_NAME, PLACEHOLDER.encode()) not in elements:
        return entry
    made: list[Element] = []
    for kind, data in elements:
        if kind == _VIDEO:
            shown = (round(size[0] * aspect), size[1])
            video = [each for each in _elements(data) if each[0] not in (_WIDTH, _HEIGHT, _UNIT)]
            video += [(_WIDTH, shown[0].to_bytes(4, "big")), (_HEIGHT, shown[1].to_bytes(4, "big"))]
            made.append((kind, _written(video)))
        elif kind != _NAME:
            made.append((kind, data))
    # What the name leaves is filled, so that nothing behind it moves.
    free = len(entry) - len(_written(made))
    return _written([*made, (_VOID, bytes(free - 2))])


def _found(data: bytes, begin: int, end: int, kinds: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Where the content of an element is that lies in others of these kinds."""
    for kind, start, stop in _places(data, begin, end):
        if kind == kinds[0]:
            yield from _found(data, start, stop, kinds[1:]) if kinds[1:] else [(start, stop)]


def _elements(data: bytes) -> Iterator[Element]:
    for kind, start, stop in _places(data, 0, len(data)):
        yield kind, data[start:stop]


def _places(data: bytes | bytearray, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    at = begin
    while at + 2 <= end and data[at]:
        after = at + 9 - data[at].bit_length()
        if after >= len(data) or not data[after]:
            return
        start = after + 9 - data[after].bit_length()
        length = int.from_bytes(data[after:start], "big") - (1 << 7 * (start - after))
        yield int.from_bytes(data[at:after], "big"), start, start + length
        at = start + length


def _written(elements: list[Element]) -> bytes:
    parts = []
    for kind, data in elements:
        octets = next(count for count in range(1, 9) if len(data) < (1 << 7 * count) - 1)
        length = (len(data) | 1 << 7 * octets).to_bytes(octets, "big")
        parts.append(kind.to_bytes((kind.bit_length() + 7) // 8, "big") + length + data)
    return b"".join(parts)
