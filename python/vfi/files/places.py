"""Files by name, or by an address such as s3://bucket/film.mp4: what fsspec knows, as paths of universal_pathlib.

Those are used like `pathlib.Path`, and stand where it is in types. Who may read and write is settled by fsspec's own
means, of the environment and its configuration: names and passwords are not taken in addresses.
"""

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

from vfi.errors import UserError, require
from vfi.files.atomic import written_whole

T = TypeVar("T")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_BLOCK = 4 << 20  # bytes that are asked for at once
# What is written there appears whole, under its own name.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "az", "adl", "oss", "oci", "memory"}
_READ_ONLY = {"http", "https"}


class StorageTrouble(UserError):
    """A place elsewhere did not answer, or broke off: the same request may do later."""


def place(text: str) -> Path:
    """A file or folder that is named so.

    Raises:
        UserError: of an address of a kind that nobody knows, or with a password in it.
    """
    if not _ADDRESS.match(text):
        return Path(text)
    try:
        parts = urlsplit(text)
        is_plain = "@" not in parts.netloc and (parts.port or 0) >= 0
    except ValueError:  # what it says would show a password with a slash in it
        is_plain = False
    if not is_plain:
        raise UserError(
            "expected an address such as s3://bucket/film.mp4, without a name or a password: "
            "fsspec takes those of its configuration"
        )
    if parts.query and parts.scheme.lower() in _READ_ONLY:
        raise UserError("expected an address without a query (what follows a ?): it may be a key, and would be shown")
    found: Path
    try:
        found = require("upath", "ray").UPath(text)
    except (ValueError, TypeError) as error:
        raise UserError(f"cannot use {text}: {error}") from error
    return Path(found.path) if text.startswith(("file:", "local:")) else found  # type: ignore[attr-defined]


def is_remote(path: Path) -> bool:
    return not isinstance(path, Path)


def check_writable(path: Path) -> None:
    """Refuses addresses that are only read from."""
    scheme = str(path).partition(":")[0]
    if is_remote(path) and scheme in _READ_ONLY:
        raise UserError(f"cannot write {path}: {scheme} is only read from; s3, gs and others can be written")


@contextmanager
def stored(path: Path) -> Iterator[None]:
    """What goes wrong inside, elsewhere, in one sentence."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist" + (f": {error}" if str(error) else "")) from error
    except PermissionError as error:
        raise UserError(f"cannot use {path}: permission denied") from error
    except (ModuleNotFoundError, NotImplementedError) as error:
        raise UserError(f"cannot use {path}: {_said(error)}") from error
    except Exception as error:
        if not is_remote(path):
            raise
        raise StorageTrouble(f"cannot use {path}: {_said(error)}") from error


def _said(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class RemoteFile(io.RawIOBase):
    """Read in ranges, as FFmpeg asks for them. `trouble`: what the place said when it failed; FFmpeg may take that for
    the file's end."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self.trouble: UserError | None = None
        with stored(path):
            refresh(path)
            options = {"block_size": _BLOCK, "cache_type": "readahead"}
            self._file = cast(BinaryIO, path.open("rb", **options))  # type: ignore[call-overload]
            self.size: int | None = getattr(self._file, "size", None)

    def read(self, size: int = -1) -> bytes:
        return self._asked(lambda: self._read(size))

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if not data and size and self.size is not None and self._file.tell() < self.size:
            raise OSError(f"it broke off after {self._file.tell()} of {self.size} bytes")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._asked(lambda: self._file.seek(offset, whence))

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _asked(self, call: Callable[[], T]) -> T:
        try:
            with stored(self.path):
                return call()
        except UserError as error:
            self.trouble = error
            raise

    def check(self) -> None:
        """Raises what went wrong, if anything did."""
        if self.trouble is not None:
            raise self.trouble


def refresh(path: Path) -> None:
    """Forgets what was known of a place: others write there."""
    if is_remote(path):
        path.fs.invalidate_cache()  # type: ignore[attr-defined]


def read_from(path: Path) -> BinaryIO:
    """Opened for reading, wherever it is."""
    return cast(BinaryIO, RemoteFile(path)) if is_remote(path) else path.open("rb")


def size_of(path: Path) -> int:
    if not is_remote(path):
        return path.stat().st_size
    with stored(path):
        return path.stat().st_size


def is_there(path: Path) -> bool:
    with stored(path):
        refresh(path)
        return path.exists()


def is_folder(path: Path) -> bool:
    """Of an output; at an address, where folders need not be there, by what it is called."""
    with stored(path):
        return path.is_dir() or (is_remote(path) and not path.suffix)


def make_folder(path: Path) -> None:
    """With those above; of object stores, which have none, nothing."""
    if not is_remote(path):
        path.mkdir(parents=True, exist_ok=True)
    elif _has_folders(path):
        with stored(path):
            path.fs.makedirs(path.path, exist_ok=True)  # type: ignore[attr-defined]


def _has_folders(path: Path) -> bool:
    return str(path).partition(":")[0] not in _OBJECT_STORES


def below(path: Path, folder: Path) -> Path:
    """Its name and those of the folders between the two."""
    if not is_remote(path):
        return path.relative_to(folder)
    return Path(str(path).removeprefix(str(folder).rstrip("/")).lstrip("/"))


def put(local: Path, target: Path) -> None:
    """Copies a whole file to its place: it is there whole, or not at all."""
    with stored(target):
        if not is_remote(target):
            with written_whole(target, lasting=True) as temporary:
                shutil.copyfile(local, temporary)
            return
        files, name = target.fs, target.path  # type: ignore[attr-defined]
        if not _has_folders(target):
            files.put_file(str(local), name)
            return
        unfinished = target.with_name(f".{target.name}.unfinished-{os.getpid()}").path  # type: ignore[attr-defined]
        try:
            files.put_file(str(local), unfinished)
            files.mv(unfinished, name)
        except BaseException:
            with suppress(Exception):
                files.rm_file(unfinished)
            raise
