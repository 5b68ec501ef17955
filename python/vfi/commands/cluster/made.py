"""Which files a task has given their names, beside the output: its worker may die then, and it is run again."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vfi.files.atomic import before_naming
from vfi.files.places import is_remote
from vfi.video.segments import folder_of


class Made:
    """Of the output `path`; `work`: the name of what is done for it, which no other run has."""

    def __init__(self, path: Path, work: str) -> None:
        self._file, self._work = folder_of(path, "made"), work
        self._is_of_use = not is_remote(path)  # there, files are replaced

    @contextmanager
    def noted(self) -> Iterator[bool]:
        """Inside, files that get their names are noted; those that this work has made before are gone. Gives whether it
        has been begun before."""
        if not self._is_of_use:
            yield False
            return
        known = list(self._known())
        for name, marks in known:
            with suppress(FileNotFoundError):
                if marks and _marks_of(self._file.with_name(name)) == marks:
                    self._file.with_name(name).unlink()
        self._add("", [])
        with before_naming(self._note):
            yield bool(known)

    @staticmethod
    def forget(path: Path) -> None:
        """Nobody will run again what makes this output."""
        if not is_remote(path):
            with suppress(OSError):
                folder_of(path, "made").unlink(missing_ok=True)

    def _note(self, whole: Path, path: Path) -> None:
        if path.parent == self._file.parent:  # not what is kept in a folder beside it
            self._add(path.name, _marks_of(whole))

    def _add(self, name: str, marks: list[int]) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps([self._work, name, marks])}\n")

    def _known(self) -> Iterator[tuple[str, list[int]]]:
        lines = self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []
        for line in lines:
            with suppress(ValueError):  # of a process that died while it wrote
                work, name, marks = json.loads(line)
                if work == self._work:
                    yield name, marks


def _marks_of(path: Path) -> list[int]:
    """What a file keeps when it gets another name, and no other file has."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]
