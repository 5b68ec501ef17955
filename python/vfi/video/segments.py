"""Encoded pictures kept in a folder beside the output, a segment at a time, so that a run that is killed can go on.

The folder holds a file of packets per finished segment and `journal.jsonl`: what the work is of, then a line per
segment, which is added when its file is on the disk. Each segment is the work of an encoder of its own, so that nothing
in it refers to another one, and ends where an interval of the source ends.
"""

import hashlib
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from vfi.errors import ArgumentError, UserError, require
from vfi.files import json_lines
from vfi.files.atomic import alone_in, cannot_write, put_in_place
from vfi.files.places import read_from, size_of

if TYPE_CHECKING:
    from av import Packet, VideoStream

_JOURNAL = "journal.jsonl"
_HEAD = struct.Struct("<qqqq?q")  # of a packet: pts, dts, duration, size, whether it is a keyframe, pieces beside it
_PIECE = struct.Struct("<qq")  # of data beside a packet, such as alpha: kind and size
_NONE = -(2**63)
_LONGEST = 255  # bytes of a name
_SAMPLES, _SAMPLE = 16, 1 << 16


@dataclass(frozen=True)
class Segment:
    """A finished one. frames and the other counts: of all up to its end. until: the time of the source's frame that the
    next one begins with; None: there is none."""

    file: str
    frames: int
    interpolated: int
    repeated: int
    cuts: int
    until: str | None


class Unjoined(Protocol):
    """Where a writer of segments puts them, and those that are there."""

    segments: list[Segment]

    def new_file(self) -> Path:
        """For the packets of the next segment."""

    def add(self, file: Path, frames: int, counts: tuple[int, int, int], until: Fraction | None) -> None:
        """A segment is finished; the numbers are as `Segment` has them."""


class Work:
    """The finished segments of one output; within `with`, this process alone has them.

    Args:
        path: the output. what: all that its pictures depend on, by name.
        resume: go on with what is there. anew: it may be thrown away.

    Raises:
        UserError: if another process is at work on the output; if there is work of another video or of other options,
            or any that is neither to be used nor to be thrown away.
    """

    def __init__(self, path: Path, what: Mapping[str, str], *, resume: bool, anew: bool) -> None:
        self.path, self.folder = path, folder_of(path)
        self.segments: list[Segment] = []
        self._what, self._stack = dict(what), ExitStack()
        self._resume, self._anew = resume, anew

    def __enter__(self) -> "Work":
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        _take(self._stack, self.path, self.folder)
        try:
            self.segments = _kept(self.folder, self._what, self.path, resume=self._resume, anew=self._anew)
            for file in self.folder.iterdir():
                if file.name not in {_JOURNAL, *(segment.file for segment in self.segments)}:
                    file.unlink()
            lines = [self._what, *map(asdict, self.segments)]
            self._journal = json_lines.Lines(self.folder / _JOURNAL, lines)
            self._stack.callback(self._journal.close)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        """Work that nobody can go on with leaves nothing."""
        self._stack.close()
        if not self.segments:
            self.remove()

    def remove(self) -> None:
        self.segments = []
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def since(self) -> Fraction | None:
        """The time of the source's frame at which the work goes on; None: at the beginning, or
        all is done already."""
        return Fraction(self.segments[-1].until) if self.segments and self.segments[-1].until is not None else None

    def new_file(self) -> Path:
        """For the packets of the next segment."""
        return self.folder / f"{len(self.segments) + 1:05}.unfinished"

    def add(self, file: Path, frames: int, counts: tuple[int, int, int], until: Fraction | None) -> None:
        """A segment is finished."""
        name = file.with_suffix(".packets")
        try:
            put_in_place(file, name, lasting=True)
        except OSError as error:
            raise cannot_write(name, error) from error
        segment = Segment(name.name, frames, *counts, None if until is None else str(until))
        self._journal.add(asdict(segment))
        self.segments.append(segment)

    def packets(self) -> "Iterator[tuple[Iterator[Packet[VideoStream]], int]]":
        """Of each segment, with how many frames it holds."""
        before = 0
        for segment in self.segments:
            yield read_packets(self.folder / segment.file), segment.frames - before
            before = segment.frames


def folder_of(path: Path, what: str = "work") -> Path:
    """Where the work of this output is kept; of a name that leaves no room for more, its digest."""
    name = f".{path.name}.{what}"
    if len(name.encode(errors="surrogateescape")) > _LONGEST:
        name = f".{hashlib.sha256(path.name.encode(errors='surrogateescape')).hexdigest()[:16]}.{what}"
    return path.with_name(name)


def check_left(path: Path, *, anew: bool) -> None:
    """Before a run that keeps no segments: what an earlier one left is removed if it is of no use, or may be.

    Raises:
        UserError: as `Work`.
    """
    folder = folder_of(path)
    if folder.is_dir():
        with ExitStack() as stack:
            _take(stack, path, folder)
            _kept(folder, {}, path, resume=False, anew=anew)
        shutil.rmtree(folder, ignore_errors=True)


def _take(stack: ExitStack, path: Path, folder: Path) -> None:
    try:
        stack.enter_context(alone_in(folder, "run"))
    except UserError as error:
        raise UserError(f"another process is writing {path}: wait for it, or take another name") from error


def _kept(folder: Path, what: Mapping[str, str], path: Path, *, resume: bool, anew: bool) -> list[Segment]:
    """The segments that are there and can be gone on with."""
    journal = folder / _JOURNAL
    first, *rest = json_lines.read(journal) if journal.exists() else [{}]
    segments = [segment for segment in map(_segment, rest) if (folder / segment.file).is_file()]
    if not segments:
        return []
    if not resume:
        if anew:
            return []
        left = f"an earlier run left {len(segments)} finished segments of {path.name} in {folder}"
        raise ArgumentError(f"{left}: add `resume` to go on with them, or `overwrite` to begin anew")
    other = sorted(name for name in {*first, *what} if first.get(name) != what.get(name))
    if other:
        raise ArgumentError(
            f"the work in {folder} is of another run, which differs in {', '.join(other)}: "
            "give the same ones, or leave out `resume` and add `overwrite` to begin anew"
        )
    return segments


def _segment(line: Mapping[str, object]) -> Segment:
    try:
        segment = Segment(**line)  # type: ignore[arg-type]
        Fraction(segment.until or 0)
    except (TypeError, ValueError) as error:
        raise UserError(f"a journal of segments is damaged: {error}") from error
    if Path(segment.file).name != segment.file:
        raise UserError(f"a journal of segments is damaged: {segment.file!r} is no file of its folder")
    return segment


def write_packets(file: BinaryIO, packets: "Iterable[Packet[VideoStream]]") -> None:
    """Adds packets to an open file."""
    for packet in packets:
        stamps = (_NONE if stamp is None else stamp for stamp in (packet.pts, packet.dts, packet.duration))
        beside = list(packet.iter_sidedata())
        file.write(_HEAD.pack(*stamps, packet.size, packet.is_keyframe, len(beside)) + bytes(packet))
        for piece in beside:
            kind = require("av").packet.packet_sidedata_type_from_literal(piece.data_type)
            file.write(_PIECE.pack(kind, piece.data_size) + bytes(piece))


def read_packets(path: Path) -> "Iterator[Packet[VideoStream]]":
    """The packets of a file, without stream and clock."""
    av = require("av")
    try:
        with read_from(path) as file:
            while head := file.read(_HEAD.size):
                *stamps, size, key, pieces = _HEAD.unpack(head)
                data = file.read(size)
                if len(data) < size:
                    raise UserError(f"{path} is damaged: it ends too early")
                packet: Packet[VideoStream] = av.Packet(data)
                packet.pts, packet.dts, duration = (None if stamp == _NONE else stamp for stamp in stamps)
                packet.duration, packet.is_keyframe = duration or 0, key
                for _ in range(pieces):
                    kind, length = _PIECE.unpack(file.read(_PIECE.size))
                    beside = av.packet.PacketSideData(kind, length)
                    beside.update(file.read(length))
                    beside.to_packet(packet, move=True)
                yield packet
    except (OSError, struct.error) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def fingerprint(path: Path | Sequence[Path]) -> str:
    """Of a file's size and parts of it, so that another file of its name is noticed; of
    several files, or a folder, of names and sizes."""
    digest = hashlib.sha256()
    try:
        if isinstance(path, Sequence) or path.is_dir():
            for each in path if isinstance(path, Sequence) else sorted(path.rglob("*")):
                digest.update(f"{each.name} {each.stat().st_size}\n".encode(errors="surrogateescape"))
            return digest.hexdigest()
        size = size_of(path)
        digest.update(str(size).encode())
        with read_from(path) as file:
            for number in range(_SAMPLES + 1):
                file.seek(max(0, size - _SAMPLE) * number // _SAMPLES)
                digest.update(file.read(_SAMPLE))
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror or error}") from error
    return digest.hexdigest()
