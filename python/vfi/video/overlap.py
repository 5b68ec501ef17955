"""Reading and writing in threads of their own, a few frames ahead and behind: FFmpeg works while a model does."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_DEPTH = 3  # frames that wait, at most
_STEP = 0.1  # seconds after which a thread that waits looks whether it is to stop


class Ahead(Generic[T]):
    """What `source` gives, made in a thread a few items before it is asked for; `close` it, also after an error."""

    def __init__(self, source: Iterable[T]) -> None:
        self._items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(_DEPTH)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(source,), daemon=True, name="vfi reading")
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while True:
            item, error = self._items.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _work(self, source: Iterable[T]) -> None:
        try:
            for item in source:
                if not self._put((item, None)):
                    return
            self._put((None, StopIteration()))
        except BaseException as error:
            self._put((None, error))

    def _put(self, item: tuple[T | None, BaseException | None]) -> bool:
        """False once nobody will take it any more."""
        while not self._stopped.is_set():
            try:
                self._items.put(item, timeout=_STEP)
                return True
            except queue.Full:
                continue
        return False


class Behind:
    """Calls are made in a thread, in their order, a few behind; after one that fails none is, and its error is raised
    here: by the next `call`, or by `wait`."""

    def __init__(self) -> None:
        self._calls: queue.Queue[Callable[[], object] | None] = queue.Queue(_DEPTH)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="vfi writing")
        self._thread.start()

    def call(self, function: Callable[[], object]) -> None:
        self._raise()
        self._calls.put(function)

    def wait(self) -> None:
        """Until all has been done."""
        self._calls.join()
        self._raise()

    def close(self) -> None:
        """After what waits is done, whether it fails or not."""
        if self._thread.is_alive():
            self._calls.put(None)
            self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (function := self._calls.get()) is not None:
            try:
                if self._error is None:
                    function()
            except BaseException as error:
                self._error = error
            finally:
                self._calls.task_done()
