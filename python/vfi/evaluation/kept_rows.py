"""Rows of scores that are kept in a folder as they are found, so that an evaluation that is killed can go on."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from vfi.errors import ArgumentError, UserError
from vfi.files import json_lines
from vfi.files.atomic import alone_in, make_folder

RESULTS = "results.jsonl"
Row = dict[str, float | None]  # by the names of measures; None: not measured


class KeptRows:
    """The rows of one evaluation, by the numbers of its scenes; this process alone has the folder until `close`.

    Args:
        folder: None: nothing is kept.
        settings: all that the rows depend on, by name.
        names: of what a row may hold.
        resume: go on with what is there.

    Raises:
        UserError: if the folder holds results and they are not to be gone on with, or are of other settings, which it
            names; or if it cannot be written.
    """

    def __init__(
        self, folder: Path | None, settings: Mapping[str, object], names: frozenset[str], *, resume: bool
    ) -> None:
        self.rows: dict[int, Row] = {}
        self.folder, self._lines, self._stack = folder, None, ExitStack()
        if folder is None:
            return
        make_folder(folder)
        self._stack.enter_context(alone_in(folder, "evaluation"))
        try:
            self._lines = self._opened(folder / RESULTS, json.loads(json.dumps(settings)), names, resume)
        except BaseException:
            self._stack.close()
            raise

    def _opened(self, path: Path, settings: dict[str, object], names: frozenset[str], resume: bool) -> json_lines.Lines:
        header: dict[str, object] = {"settings": settings}
        if path.is_file() and not resume:
            raise ArgumentError(f"{path.parent} holds results already; `resume` goes on with them")
        first, *lines = (path.is_file() and json_lines.read(path)) or [header]
        if first != header:
            earlier = first.get("settings")
            other = different(earlier if isinstance(earlier, dict) else {}, settings)
            raise UserError(f"the results in {path.parent} are of {other}: take another folder")
        for line in lines:
            self.rows.update([_row(line, names, path)])
        return json_lines.Lines(path, [header, *(_line(number, row) for number, row in self.rows.items())])

    def add(self, number: int, row: Mapping[str, float | None]) -> None:
        if self._lines is not None and number not in self.rows:
            self._lines.add(_line(number, row))
        self.rows[number] = dict(row)

    def close(self) -> None:
        with self._stack:
            if self._lines is not None:
                self._lines.close()


def different(one: Mapping[str, object], other: Mapping[str, object]) -> str:
    """What is not the same in both, in words: `another model (rife, not flow-splat), another code`."""
    names = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    return ", ".join(f"another {name.replace('_', ' ')}{_told(one.get(name), other.get(name))}" for name in names)


def _told(one: object, other: object) -> str:
    texts = ["none" if value is None else str(value) for value in (one, other)]
    return f" ({texts[0]}, not {texts[1]})" if max(map(len, texts)) <= 40 else ""


def _line(number: int, row: Mapping[str, float | None]) -> dict[str, object]:
    return {"scene": number, **told(row)}


def told(row: Mapping[str, float | None]) -> dict[str, float | str | None]:
    """For JSON, which knows no such numbers: "inf" and "nan" are text."""
    return {name: value if value is None or abs(value) < float("inf") else str(value) for name, value in row.items()}


def _row(line: dict[str, object], names: frozenset[str], path: Path) -> tuple[int, Row]:
    number = line.pop("scene", None)
    try:
        if isinstance(number, int) and set(line) <= names:
            return number, {name: None if value is None else float(str(value)) for name, value in line.items()}
    except ValueError:
        pass
    raise UserError(f"expected scores of scenes in {path}, got {line!r:.60}")
