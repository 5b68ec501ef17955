"""Standard streams that someone may have closed, filled or stopped reading: the work does not depend on who listens."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


@contextmanager
def unheard() -> Iterator[None]:
    """Inside, what is printed goes nowhere once nobody takes it; errors of printing end nothing."""
    _fill_closed()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Tolerant(_opened(before[0], 1)), _Tolerant(_opened(before[1], 2))
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _fill_closed() -> None:
    """A file that is opened must not become the standard error of a library."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def _opened(stream: TextIO | None, number: int) -> TextIO:
    return os.fdopen(os.dup(number), "w") if stream is None else stream


class _Tolerant:
    """A stream of text whose errors count as if nobody listened."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            return self._stream.write(text.encode("ascii", "backslashreplace").decode())
        except OSError:
            self._leave()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._leave()

    def _leave(self) -> None:
        """From now on to nowhere, with what is waiting to be written: Python flushes once more at its end."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
