"""What is finished of one output, in a folder beside it, wherever that is, so that runs can go on with it.

`begun.json` says what the work is of, and its name, which no other work has. Each part is a file of packets for each of
its segments, then a record in JSON: a part is there when its record is. Names of files begin with that of the work, so
that tasks of a run whose work was thrown away meanwhile disturb nobody.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vfi.errors import ArgumentError, UserError
from vfi.files.places import is_remote, make_folder, put, refresh, stored
from vfi.files.temporary import own_folder
from vfi.video.segments import Segment, folder_of, read_packets

if TYPE_CHECKING:
    from av import Packet, VideoStream

_BEGUN, _WORK = "begun.json", "work"


@dataclass(frozen=True)
class Record:
    """A finished part.

    first, end: the numbers of its segments, the last one not counted; None: to the end of the source. files: with
    packets, and how many frames each holds. begins, until: the frames of the source with which its pictures begin, and
    with which the next part's do, as `work.mark_of` names them; None: there are none. counts: interpolated, repeated,
    scene cuts. source: frames that were read for it. notes, missing: what there is to say of the source.
    """

    first: int
    end: int | None
    files: tuple[tuple[str, int], ...] = ()
    begins: str | None = None
    until: str | None = None
    counts: tuple[int, int, int] = (0, 0, 0)
    source: int = 0
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return sum(count for _, count in self.files)


class Parts:
    """Of the output `path`; `work`: its name."""

    def __init__(self, path: Path, work: str) -> None:
        self.path, self.folder, self.work = path, folder_of(path, "parts"), work

    def begin(self, what: Mapping[str, str], *, resume: bool, anew: bool) -> dict[str, str]:
        """What the work is of: as it was begun, or is from now on. That of an earlier run which goes on keeps its name.

        Raises:
            UserError: if there is work of another video or of other options, or any that is neither to be used nor to
                be thrown away.
        """
        known = self._read(_BEGUN)
        mine, self.work = self.work, str(known.get(_WORK)) if known is not None else self.work
        if known is not None and not resume and self.work != mine:  # the same run tries again
            if not anew and self.records():
                raise ArgumentError(
                    f"an earlier run left finished parts of {self.path.name} in {self.folder}: add `resume` to go on "
                    "with them, or `overwrite` to begin anew"
                )
            self.remove()
            known, self.work = None, mine
        if known is None:
            known = {**what, _WORK: mine}
            self._write(_BEGUN, known)
        other = sorted(name for name in what if known.get(name) != what[name])
        if other:
            raise ArgumentError(
                f"the work in {self.folder} is of another run, which differs in {', '.join(other)}: "
                "give the same ones, or leave out `resume` and add `overwrite` to begin anew"
            )
        return {name: str(value) for name, value in known.items()}

    def keep(self, what: Mapping[str, str]) -> None:
        """What else has been settled of the work."""
        self._write(_BEGUN, what)

    def records(self) -> dict[int, Record]:
        """Those that are there, by the number of their first segment."""
        with stored(self.folder):
            refresh(self.folder)
            there = [path.name for path in self.folder.iterdir()] if self.folder.exists() else []
        found = {}
        for name in there:
            if name.startswith(f"{self.work}-") and name.endswith(".json"):
                record = self._record(name)
                found[record.first] = record
        return found

    def _name(self, first: int) -> str:
        return f"{self.work}-{first:06}.json"

    def _record(self, name: str) -> Record:
        try:
            known = self._read(name) or {}
            files = tuple((str(file), int(count)) for file, count in known.pop("files"))  # type: ignore[attr-defined]
            others = {key: _plain(value) for key, value in known.items()}
            record = Record(files=files, **others)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.folder / name} is damaged: {error}") from error
        if any(Path(file).name != file for file, _ in files):
            raise UserError(f"{self.folder / name} is damaged: it names files of another folder")
        return record

    def add(self, record: Record, folder: Path) -> None:
        """A part is finished: its files are in a folder of this machine."""
        if not self._is_there():
            raise UserError(f"the work on {self.path.name} was ended, or begun anew, by another run meanwhile")
        for file, _ in record.files:
            put(folder / file, self.folder / file)
        self._write(self._name(record.first), asdict(record))

    def drop(self, first: int) -> None:
        """The parts from this number of a segment on."""
        for number in self.records():
            if number >= first:
                with stored(self.folder):
                    (self.folder / self._name(number)).unlink(missing_ok=True)

    def packets(self, record: Record) -> "Iterator[tuple[Iterator[Packet[VideoStream]], int]]":
        """Of each of its segments, with how many frames it holds."""
        for file, frames in record.files:
            yield read_packets(self.folder / file), frames

    def tidy(self) -> None:
        """Nothing is left of work that nobody can go on with."""
        if not self.records():
            self.end()

    def end(self) -> None:
        """Removes it, unless another run has begun there."""
        if self._is_there():
            self.remove()

    def _is_there(self) -> bool:
        return (self._read(_BEGUN) or {}).get(_WORK) == self.work

    def remove(self) -> None:
        if not is_remote(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        with stored(self.folder), suppress(FileNotFoundError):
            self.folder.fs.rm(self.folder.path, recursive=True)  # type: ignore[attr-defined]

    def _read(self, name: str) -> dict[str, object] | None:
        path = self.folder / name
        with stored(path):
            refresh(path)
            try:
                text = path.read_text(encoding="utf-8")
            except FileNotFoundError:
                return None
        try:
            known = json.loads(text)
        except ValueError as error:
            raise UserError(f"{path} is damaged: {error}") from error
        if not isinstance(known, dict):
            raise UserError(f"{path} is damaged: expected names and values")
        return known

    def _write(self, name: str, value: Mapping[str, object]) -> None:
        with own_folder() as temporary, stored(self.folder):
            make_folder(self.folder)
            local = temporary / name
            local.write_text(json.dumps(value), encoding="utf-8")
            put(local, self.folder / name)


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


@dataclass
class Unsaved:
    """Segments of a part that is being made, in a folder of this machine: what a writer of segments asks for."""

    folder: Path
    work: str
    first: int
    segments: list[Segment] = field(default_factory=list)

    def new_file(self) -> Path:
        """For the packets of the next segment."""
        return self.folder / f"{self.work}-{self.first:06}.{len(self.segments)}.packets"

    def add(self, file: Path, frames: int, counts: tuple[int, int, int], until: Fraction | None) -> None:
        """A segment is finished."""
        self.segments.append(Segment(file.name, frames, *counts, None if until is None else str(until)))

    def files(self) -> tuple[tuple[str, int], ...]:
        """With the frames of each."""
        ends = [0, *(segment.frames for segment in self.segments)]
        return tuple((segment.file, segment.frames - before) for segment, before in zip(self.segments, ends))
