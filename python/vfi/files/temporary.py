"""Folders of this machine for what is not yet whole; a process that is killed leaves its own to the next one."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vfi.errors import UserError
from vfi.files.atomic import alone_in

_PREFIX = "vfi-unfinished-"
_YOUNG = 60.0  # seconds: of a folder that is just being made


@contextmanager
def own_folder() -> Iterator[Path]:
    """Removed with the block; those of processes that are no more are removed as well."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(UserError, OSError):
            if time.time() - left.stat().st_mtime > _YOUNG:
                with alone_in(left, "process"):
                    shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder:
        path = Path(folder)
        with alone_in(path, "process"):
            yield path
