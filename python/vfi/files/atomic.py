"""Files that appear whole or not at all."""

import errno
import glob
import hashlib
import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from vfi import errors
from vfi.errors import UserError

_LONGEST = 255  # bytes of a name


def check_target(path: Path, *, overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuses a target that cannot or must not be written, before any work is done."""
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:  # of a folder that may not be entered, a name too long
        raise cannot_write(path, error) from error
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: the folder {path.parent} does not exist")
    if any(path.exists() and source.exists() and path.samefile(source) for source in inputs):
        raise UserError(f"cannot write {path}: it is also an input")
    if path.exists() and not overwrite:
        raise errors.ArgumentError(f"{path} exists already; add `overwrite` to replace it")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: no permission to write into {path.parent}")
    try:
        with tempfile.TemporaryFile(dir=path.parent):  # rights do not tell all
            pass
    except OSError as error:
        raise cannot_write(path, error) from error


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path` with the same suffix, from which formats are guessed."""
    return path.with_name(f"{_unfinished(path)}{os.getpid()}{path.suffix}")


def _unfinished(path: Path) -> str:
    """What names of unfinished files begin with; of a stem that leaves no room for more, its digest."""
    stem = path.stem
    if len(os.fsencode(path.name)) > _LONGEST - 32:
        stem = hashlib.sha256(os.fsencode(stem)).hexdigest()[:16]
    return f".{stem}.unfinished-"


@contextmanager
def claimed(path: Path) -> Iterator[Path]:
    """A temporary name for hours of work; what dead processes left of the same output is removed.

    The file is locked meanwhile, so that a living process is told from a dead one.

    Raises:
        UserError: if another process is at work on the same output.
    """
    left = f"{glob.escape(_unfinished(path))}*{glob.escape(path.suffix)}"
    for other in path.parent.glob(left):
        with ExitStack() as stack:
            if not _locked(other, stack):
                raise UserError(f"another process is writing {path}: wait for it, or take another name")
            other.unlink(missing_ok=True)
    temporary = temporary_name(path)
    with ExitStack() as stack:
        try:
            temporary.touch()
            _locked(temporary, stack)
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _locked(path: Path, stack: ExitStack) -> bool:
    """Locks a file until the stack is left; False if another process has. Where there are no locks, all are free."""
    try:
        fcntl = importlib.import_module("fcntl")
        file = stack.enter_context(path.open("rb"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except ImportError:
        return True
    except OSError:
        return path.exists()
    return True


@contextmanager
def written_whole(path: Path, *, lasting: bool = False) -> Iterator[Path]:
    """Gives a temporary name to write to; renames it to `path` at the end, or removes it after an error.

    lasting: as `put_in_place`.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        put_in_place(temporary, path, lasting=lasting)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {path}: {error.strerror or error}")


def make_folder(folder: Path) -> None:
    """With those above it; one that is there stays.

    Raises:
        UserError: if that cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.UserError(f"cannot make the folder {folder}: {error.strerror or error}") from error


def put_in_place(temporary: Path, path: Path, *, lasting: bool, replace: bool = True) -> None:
    """Renames a whole file. lasting: what was hours of work is on the disk before its name is, and the name before this
    returns, so that after a loss of power there is the old file or the new one.

    replace: a file of that name may be there. If not, and one has appeared, that is a FileExistsError.
    """
    if lasting:
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
    if (told := _told.get()) is not None:
        told(temporary, path)
    if replace:
        os.replace(temporary, path)
    else:
        _name(temporary, path)
    if lasting and os.name == "posix":
        with suppress(OSError), opened(path.parent) as folder:  # some file systems cannot; the file is there already
            os.fsync(folder)


_told: ContextVar[Callable[[Path, Path], None] | None] = ContextVar("told", default=None)


@contextmanager
def before_naming(told: Callable[[Path, Path], None]) -> Iterator[None]:
    """Inside, it is called with each whole file, and the name that this gets then."""
    before = _told.set(told)
    try:
        yield
    finally:
        _told.reset(before)


def _name(temporary: Path, path: Path) -> None:
    """Gives a file a name that nothing has."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(temporary, path)
    else:
        temporary.unlink()


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    _held.add(descriptor)
    try:
        yield descriptor
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


_held: set[int] = set()  # open folders; workers that are forked let go of them, and with them of their locks


def _let_go() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go)


@contextmanager
def alone_in(folder: Path, what: str) -> Iterator[None]:
    """Inside, this process alone works in the folder; a process that dies lets go of it.

    Without locks of folders (Windows, some network drives) a file `.lock` stands for one.

    Raises:
        UserError: if another process does. what: it is called in the sentence.
    """
    with ExitStack() as stack:
        try:
            fcntl = importlib.import_module("fcntl")
            fcntl.flock(stack.enter_context(opened(folder)), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another {what} is at work in {folder}: wait for it, or take another folder") from error
        except (ImportError, OSError):
            stack.enter_context(_lock_file(folder, what))
        yield


@contextmanager
def _lock_file(folder: Path, what: str) -> Iterator[None]:
    path = folder / ".lock"
    try:
        # Windows removes it when its process ends in any way
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_TEMPORARY", 0))
    except (FileExistsError, PermissionError) as error:
        if not path.exists():
            raise cannot_write(path, error) from error
        raise UserError(f"another {what} is at work in {folder}; if none is, remove {path}") from error
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        os.close(descriptor)
        with suppress(OSError):
            path.unlink(missing_ok=True)


def remove_unfinished(folder: Path, names: Iterable[str]) -> None:
    """What killed processes left of these files; for a folder in which this process is `alone_in`."""
    for name in map(Path, names):
        for left in folder.glob(f"{glob.escape(_unfinished(name))}*{glob.escape(name.suffix)}"):
            left.unlink(missing_ok=True)
