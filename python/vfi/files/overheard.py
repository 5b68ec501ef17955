"""What libraries of C print to standard error themselves, past Python."""

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

_one_at_a_time = threading.RLock()
_ALL = re.compile(rb"[^\n]*\n|[^\n]+")


@contextmanager
def overheard(lines: re.Pattern[bytes] = _ALL) -> Iterator[list[str]]:
    """Afterwards, what was printed to standard error inside is in the list, and nobody has seen it.

    lines: which ones, with their ends; what else comes meanwhile, from other threads, is printed a moment later. Where
    there is no standard error, or no place to keep what comes, the list stays empty.
    """
    said: list[str] = []
    with _one_at_a_time, ExitStack() as stack:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
            before = os.dup(2)
            stack.callback(os.close, before)
            file = stack.enter_context(tempfile.TemporaryFile())
            os.dup2(file.fileno(), 2)
        except OSError:
            yield said
            return
        try:
            yield said
        finally:
            os.dup2(before, 2)
            file.seek(0)
            printed = file.read()
            said += filter(None, (line.decode(errors="replace").strip() for line in lines.findall(printed)))
            if rest := lines.sub(b"", printed):
                with suppress(OSError):  # nobody listens any more
                    os.write(2, rest)
