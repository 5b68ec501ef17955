"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vfi_models.errors import UserError


def check_target(path: Path, *, overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuses a target that cannot or must not be written, before any work is done."""
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: the folder {path.parent} does not exist")
    if any(path.exists() and source.exists() and path.samefile(source) for source in inputs):
        raise UserError(f"cannot write {path}: it is also an input")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already; add --overwrite to replace it")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: no permission to write into {path.parent}")


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path` with the same suffix, from which formats are guessed."""
    return path.with_name(f".{path.stem}.unfinished-{os.getpid()}{path.suffix}")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a temporary name to write to; renames it to `path` at the end, or removes it after an error."""
    temporary = temporary_name(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
