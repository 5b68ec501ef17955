"""Ctrl-C and SIGTERM while work goes on: files are tidied up, and no step of a training is cut in half."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def handled_by(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Inside, `handler` gets the signals; afterwards who got them before. Threads other than the main one get none."""
    names = SIGNALS if threading.current_thread() is threading.main_thread() else ()
    before = {name: signal.signal(name, handler) for name in names}
    try:
        yield
    finally:
        for name, earlier in before.items():
            signal.signal(name, earlier)


@contextmanager
def stopped_once() -> Iterator[None]:
    """Inside, the first signal raises KeyboardInterrupt; later ones do not disturb the tidying up."""

    def stop(number: int, frame: object) -> None:
        for name in SIGNALS:
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    with handled_by(stop):
        yield


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Inside, the first signal is only noted, so that no step is cut in half; a second one raises."""
    asked: list[int] = []

    def note(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        print("\nstopping after this step; once more to stop at once, without saving", file=sys.stderr, flush=True)

    with handled_by(note):
        yield lambda: bool(asked)
