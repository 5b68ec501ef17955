"""Memory of the process, for commands that work on large pictures over and over."""

import ctypes
from contextlib import suppress

# mallopt's names in malloc.h, and the largest value of its int.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_ALWAYS = 2**31 - 1


def keep_blocks() -> None:
    """glibc gives blocks of more than 32 MB, a picture's worth, back to the system each time, which clears every page
    of them when they are taken again: a third of a network's time at 1080p. They are kept instead, up to 2 GB each.
    Elsewhere nothing happens."""
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _ALWAYS)
        mallopt(_TRIM_THRESHOLD, _ALWAYS)
