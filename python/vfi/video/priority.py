"""Threads at the priority that they had: SVT-AV1, run by root, makes all of a process real-time ones."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def kept() -> Iterator[None]:
    """Inside, a library may make threads real-time ones, before which nothing else on the machine runs; behind, they
    are as others, unless the process was real-time before. Linux alone has such."""
    before = _policy(0)
    try:
        yield
    finally:
        if before == _USUAL:
            for thread in map(int, os.listdir("/proc/self/task")):
                if _policy(thread) not in (_USUAL, None):
                    with suppress(OSError):
                        os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


_USUAL = getattr(os, "SCHED_OTHER", 0)


def _policy(thread: int) -> int | None:
    """How a thread is scheduled; None where nothing tells."""
    try:
        return os.sched_getscheduler(thread)
    except (AttributeError, OSError):
        return None
