"""Files that are shorter than they say, or stop in the middle of something."""

import io
import mmap
import os
from pathlib import Path
from typing import BinaryIO

from vfi.files.places import read_from, size_of
from vfi.video.piped import Piped

SYNC = 0x47  # the first byte of a packet of a transport stream
_TRANSPORT_PACKETS = (188, 192, 204)
_PACK, _END_OF_PROGRAM = b"\x00\x00\x01\xba", b"\xb9"
_NEAR_END = 1 << 18
_PNG_END = b"IEND\xaeB`\x82"
_TRAILER, _EXTENSION, _IMAGE = 0x3B, 0x21, 0x2C  # of a GIF
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067


def what_is_missing(path: Path, container: str, place: int | None, behind: int | None) -> str | None:
    """What tells that a file is cut off, in words.

    container: FFmpeg's name. place: where one of the last packets of the video begins, if that is known;
    behind: where the last one ends.
    """
    size = size_of(path)
    with read_from(path) as file:
        end = _from(file, max(0, size - _NEAR_END))
        rest = _from(file, place) if container == "mpegts" and place is not None else None
        if (said := _said_by_end(container, size, end, rest, behind)) is not None:
            return said
        if container == "gif" and not _is_whole_gif(file):
            return "it is damaged, or cut off"
        told = {"matroska": _told_by_matroska, "mov": _told_by_mp4}.get(container.partition(",")[0])
        missing = told(file, size) - size if told is not None else 0
    return f"{missing} bytes of the file are missing" if missing > 0 else None


def what_did_not_come(piped: Piped, container: str, place: int | None, behind: int | None) -> str | None:
    """As `what_is_missing`, of what has come through a pipe: by its beginning and its end."""
    piped.drain()
    rest = piped.since(place) if place is not None else None
    if (said := _said_by_end(container, piped.size, piped.tail, rest, behind)) is not None:
        return said
    if container == "gif" and not piped.tail.rstrip(b"\0").endswith(bytes([_TRAILER])):
        return "it is damaged, or cut off"
    told = piped.boxes_end if container.startswith("mov") else 0
    if container.startswith("matroska"):
        told = _told_by_matroska(io.BytesIO(piped.head), len(piped.head))
    missing = told - piped.size
    return f"{missing} bytes of it did not come" if missing > 0 else None


def _said_by_end(container: str, size: int, end: bytes, rest: bytes | None, behind: int | None) -> str | None:
    """rest: what begins with one of the last packets; of the others as above."""
    if container == "mpegts" and rest is not None and len(rest) % transport_length(rest):
        return "it ends in the middle of a packet"
    if container == "mpeg" and sections_broken(end[max(0, end.rfind(_PACK)) :]):
        return "it ends in the middle of a packet"
    if container == "yuv4mpegpipe" and behind is not None and size > behind:
        return "1 frame lost: it ends in the middle of a frame"
    if container == "flv" and not _ends_with_tag(end):
        return "it ends in the middle of a packet"
    if container == "apng" and _PNG_END not in end:
        return "it ends without the mark of its end"
    return None


def _from(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    return file.read()


def transport_length(stream: bytes) -> int:
    """Of the packets of a transport stream that begins with one."""
    shares = {}
    for length in _TRANSPORT_PACKETS:
        starts = stream[length - 188 if length == 192 else 0 :: length]
        shares[length] = starts.count(SYNC) / len(starts) if starts else 0
    return max(shares, key=lambda length: shares[length])


def sections_broken(program: bytes) -> bool:
    """Whether a part of a program stream that begins with a packet is not whole: each tells where the next one is."""
    at = 0
    while at < len(program):
        head = program[at : at + 14]
        if len(head) < 4:
            return True
        if head[:3] != _PACK[:3]:
            return any(program[at:])  # zeros may fill the end
        if len(head) < 6:
            return head[3:4] != _END_OF_PROGRAM
        if head[3:4] == _END_OF_PROGRAM:
            at += 4
            continue
        if head[3] == _PACK[3]:
            at += 12 if head[4] >> 6 == 0 else 14 + (head[13] & 7 if len(head) == 14 else 0)
        else:
            at += 6 + int.from_bytes(head[4:6], "big")
    return at != len(program)


def _ends_with_tag(flash: bytes) -> bool:
    """Whether a Flash file ends with a whole tag and its length."""
    length = int.from_bytes(flash[-4:], "big")
    tag = flash[-4 - length : -4]
    return length >= len(flash) - 4 or (length >= 11 and int.from_bytes(tag[1:4], "big") == length - 11)


def _told_by_matroska(file: BinaryIO, size: int) -> int:
    """Where its segment ends, as it says itself; 0: it does not."""
    file.seek(0)
    while file.tell() < size:
        kind, length = _number(file, keep=True), _number(file, keep=False)
        if kind == _SEGMENT and length is not None:
            return file.tell() + length
        if kind != _EBML or length is None:
            return 0
        file.seek(length, os.SEEK_CUR)
    return 0


def _number(file: BinaryIO, *, keep: bool) -> int | None:
    """A number of EBML, whose first bit that is set says how long it is; None: one that stands for not known."""
    first = file.read(1)
    length = 9 - first[0].bit_length() if first and first[0] else 0
    data = first + file.read(length - 1) if length else b""
    value = int.from_bytes(data, "big")
    marker = 1 << 7 * length
    if keep or not length:
        return value
    return None if value == 2 * marker - 1 else value - marker


def _told_by_mp4(file: BinaryIO, size: int) -> int:
    """Where its last box ends, as that says itself; 0: there is something else."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8 or not head[4:8].isalnum():
            return 0
        at += length
    return at


def _is_whole_gif(file: BinaryIO) -> bool:
    """Whether its blocks follow each other up to the trailer, and those of an image are as long as each other.

    What follows on a piece that was cut out is read as lengths at random.
    """
    uneven = even = 0
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 13 + _colours(data[10])
        while at < len(data):
            kind = data[at]
            if kind == _TRAILER:
                return not 0 < uneven < even
            if kind == 0:
                at += 1  # padding, which viewers skip
                continue
            if kind not in (_EXTENSION, _IMAGE) or at + 9 >= len(data):
                return False
            at += 2 if kind == _EXTENSION else 11 + _colours(data[at + 9])
            lengths = []
            while at < len(data) and data[at]:
                lengths.append(data[at])
                at += 1 + data[at]
            at += 1
            if kind == _IMAGE and len(set(lengths[:-1])) > 1:
                uneven += 1
            else:
                even += kind == _IMAGE
    return False


def _colours(flags: int) -> int:
    """The bytes of a palette."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
