"""How glibc hands memory out to this process. Elsewhere nothing here does anything."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# mallopt's names in malloc.h. Above the one free memory goes back to the system, above the other blocks have their own.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_NEVER, _USUAL, _SOON = 2**31 - 1, 32 << 20, 64 << 10  # bytes; glibc comes to the usual ones by itself
_kept = False


def keep_blocks() -> None:
    """For commands, which work on large pictures over and over: glibc gives blocks of more than 32 MB, a picture's
    worth, back to the system each time, which clears every page of them when they are taken again. They are kept
    instead, up to 2 GB each, and all threads take them from one place: what one gave back another finds."""
    global _kept
    _kept = True
    _set(_NEVER)
    _tell(_ARENA_MAX, 1)


@contextmanager
def blocks_given_back() -> Iterator[None]:
    """Inside, what is taken counts in the size of the process, and what is free does not, from before either."""
    _set(_SOON)
    give_back()
    try:
        yield
    finally:
        _set(_NEVER if _kept else _USUAL)


def give_back() -> None:
    """What is free between blocks that are not: glibc itself gives back what is free at the end of its heap alone."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _set(most: int) -> None:
    _tell(_MMAP_THRESHOLD, most)
    _tell(_TRIM_THRESHOLD, most)


def _tell(name: int, value: int) -> None:
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(name, value)
