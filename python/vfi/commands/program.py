"""What every program of this package has: errors of one sentence, exit codes, notes."""

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NoReturn
from unicodedata import category

from vfi.commands.outputs import unheard
from vfi.commands.written import Written
from vfi.errors import UserError
from vfi.files.allocator import keep_blocks
from vfi.files.interrupts import stopped_once

_NO_MEMORY = re.compile(
    r"(not enough|insufficient|out of|can't allocate|cannot allocate) memory|failed to map segment|bad_alloc",
    re.IGNORECASE,
)


class SentenceParser(argparse.ArgumentParser):
    """Errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def exit_code(program: str, action: Callable[[], None], interrupted: str = "interrupted") -> int:
    """Runs `action`: 0, 2 for a wrong request or input, 3 for an input that was not whole, 130 after Ctrl-C or SIGTERM.

    Here errors about arguments, which speak of them as Python does, become those of a command.
    """
    # Before torch is loaded: threads that spin while they wait take the CPU from each other and from all else that runs
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_blocks()
    with unheard():
        try:
            with stopped_once():
                action()
        except KeyboardInterrupt:
            print(f"{program}: {interrupted}", file=sys.stderr)
            return 130
        except Exception as error:
            problem = sentence_of(error)
            if problem is None:
                raise
            print(f"{program}: {in_one_line(problem)}", file=sys.stderr)
            return error.exit_code if isinstance(error, UserError) else 2
    return 0


def sentence_of(error: Exception) -> str | None:
    """What is to be said of an error that people can do something about."""
    if _of_memory(error):
        return "there is not enough memory for frames of this size"
    if isinstance(error, UserError):
        return error.for_command()
    if isinstance(error, ImportError):
        return str(error)  # vfi_kernels without its compiled library says how to build it
    if isinstance(error, PermissionError):
        return f"cannot use {error.filename}: permission denied"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"cannot use {error.filename}: the name is too long"
    return None


def _of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, in the words of torch, OpenCV and the loader of libraries."""
    if isinstance(error, UserError):
        error = error.__cause__ if isinstance(error.__cause__, ImportError) else None
    return error is not None and (isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None)


@dataclass
class Heard:
    """What a run has said and written, for who called it from Python."""

    said: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)


_listener: ContextVar[Heard | None] = ContextVar("listener", default=None)


@contextmanager
def listening() -> Iterator[Heard]:
    """Inside, nothing is printed: it is kept."""
    heard = Heard()
    before = _listener.set(heard)
    try:
        yield heard
    finally:
        _listener.reset(before)


def say(text: str) -> None:
    """What a run is for, on standard output."""
    heard = _listener.get()
    if heard is None:
        print(text)
    else:
        heard.said.append(text)


def note(text: str) -> None:
    """What a user should know beside it, on standard error."""
    heard = _listener.get()
    if heard is None:
        print(f"note: {in_one_line(text)}", file=sys.stderr)
    else:
        heard.notes.append(in_one_line(text))


def has_written(written: Written) -> None:
    """For who listens."""
    heard = _listener.get()
    if heard is not None:
        heard.written.append(written)


def in_one_line(text: str) -> str:
    """What names and tags of files hold may be anything, also what moves a terminal's cursor: that is spelled out."""
    odd = (each for each in set(text) if category(each) in ("Cc", "Cs", "Zl", "Zp"))
    return text.translate({ord(each): ascii(each)[1:-1] for each in odd})
