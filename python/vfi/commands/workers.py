"""Several devices that make the pictures of one video between them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import numpy as np

from vfi.models.interpolator import Interpolator
from vfi.models.pictures import Pictures

# Requests in a row for one worker: a frame that stands between two of them is moved there, and encoded, once.
_IN_A_ROW = 4


class Workers:
    """One or more models, each on its device, with a thread of its own where there are several.

    ahead: how many requests may be made before the first one's pictures are taken, so that all have work.
    """

    def __init__(self, models: Sequence[tuple[Interpolator, str]]) -> None:
        self._workers = [Worker(model, device) for model, device in models]
        self._current, self._given = self._workers[0], 0
        # An engine measures and compiles at its first frames: one after the other.
        self._lock = Lock()
        self.ahead = _IN_A_ROW * len(models) if len(models) > 1 else 0

    def between(self, first: np.ndarray, second: np.ndarray, times: Sequence[float]) -> Iterator[np.ndarray]:
        """As `Pictures.between`; of several workers the one with the least to do begins at once."""
        if not self.ahead:
            return self._current.pictures.between(first, second, times)
        if self._given % _IN_A_ROW == 0:
            self._current = min(self._workers, key=Worker.waiting)
        self._given += 1
        return _results(self._current.begin(first, second, times, self._lock))

    def __len__(self) -> int:
        return len(self._workers)

    def close(self) -> None:
        """Waits for what has begun; what has not never will."""
        for worker in self._workers:
            worker.thread.shutdown(cancel_futures=True)


class Worker:
    """A model on its device, and a thread that works in the order in which it is asked."""

    def __init__(self, model: Interpolator, device: str) -> None:
        self.pictures = Pictures(model, device)
        self.thread = ThreadPoolExecutor(1)
        self._asked: list[Future[list[np.ndarray]]] = []
        self._has_begun = False

    def waiting(self) -> int:
        """Requests that are not done."""
        self._asked = [each for each in self._asked if not each.done()]
        return len(self._asked)

    def begin(
        self, first: np.ndarray, second: np.ndarray, times: Sequence[float], lock: Lock
    ) -> "Future[list[np.ndarray]]":
        def work() -> list[np.ndarray]:
            if self._has_begun:
                return list(self.pictures.between(first, second, times))
            with lock:
                self._has_begun = True
                return list(self.pictures.between(first, second, times))

        asked = self.thread.submit(work)
        self._asked.append(asked)
        return asked


def _results(asked: "Future[list[np.ndarray]]") -> Iterator[np.ndarray]:
    yield from asked.result()
