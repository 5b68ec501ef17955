"""The folders of Python's library and of installed packages."""

import functools
import os
from pathlib import Path


@functools.cache
def library_folders() -> tuple[str, ...]:
    """As they are named and as they are, each with a separator at its end; for `str.startswith`."""
    import sysconfig  # here, as its variables are a module of their own, which importing the package does not import

    paths = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    return tuple({folder + os.sep for path in paths for folder in (path, str(Path(path).resolve()))})
