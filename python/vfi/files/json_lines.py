"""Files of a JSON object per line, to which lines are added as they come."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from vfi.errors import UserError
from vfi.files.atomic import cannot_write, written_whole


def read(path: Path) -> list[dict[str, object]]:
    """The objects of a file; a last line that was not finished is left out.

    Raises:
        UserError: if the file cannot be read, or another line holds no object.
    """
    try:
        *whole, rest = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    objects = [_object(line, f"line {number} of {path}") for number, line in enumerate(whole, 1) if line.strip()]
    if rest.strip() and not _is_unfinished(rest):
        objects.append(_object(rest, ""))
    return objects


def is_cut(path: Path) -> bool:
    """Whether `read` leaves out a last line."""
    return _is_unfinished(path.read_bytes().rpartition(b"\n")[2])


def _is_unfinished(rest: bytes) -> bool:
    """Whether what follows the last end of a line is part of an object."""
    if not rest.strip():
        return False
    try:
        _object(rest, "")
    except UserError:
        return True
    return False


def _object(line: bytes, where: str) -> dict[str, object]:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"cannot read {where}: it is no JSON") from error
    if not isinstance(value, dict):
        raise UserError(f"expected names and values in {where}, got {type(value).__name__}")
    return value


class Lines:
    """A file that begins with `earlier` and grows; what is added at once is written at once, as whole lines."""

    def __init__(self, path: Path, earlier: Iterable[Mapping[str, object]] = ()) -> None:
        self.path = path
        with written_whole(path, lasting=True) as temporary:
            temporary.write_bytes(_lines(earlier))
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from error

    def add(self, *objects: Mapping[str, object]) -> None:
        data = _lines(objects)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        finally:
            self._file.close()


def _lines(objects: Iterable[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(item, allow_nan=False) + "\n" for item in objects).encode()
