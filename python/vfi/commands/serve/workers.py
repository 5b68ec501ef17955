"""Processes that work on what people have sent, from the side of the page, and jobs, which each have one at a time."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vfi.errors import UserError

_TICK = 0.25  # seconds between two looks at whether a job is cancelled
_ENDED = {"error": "the work ended without a word: perhaps there was not enough memory for it"}


class Cancelled(UserError):
    """By who asked for it."""


@dataclass(frozen=True)
class Progress:
    """frames: done, of about `total` (None: not known), in `seconds`."""

    frames: int = 0
    total: int | None = None
    seconds: float = 0.0


class Worker:
    """A process. Its messages come in `messages`; after its end, an error."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vfi.commands.serve.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the server, which ends this
        )
        self.messages: queue.Queue[Mapping[str, object]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.messages.put(json.loads(line))
        self.messages.put(_ENDED)

    def ask(self, request: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            self.messages.put(_ENDED)

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Job:
    """Work on a request, begun at once, which ends whether or not anybody asks how far it is; `tidy` is called where
    nothing came of it."""

    def __init__(
        self, workers: "Workers", request: Mapping[str, object], seconds: float, tidy: Callable[[], None] | None = None
    ) -> None:
        self.progress = Progress()
        self._tidy = tidy
        self._workers, self._request, self._seconds = workers, request, seconds
        self._answer: object = None
        self._error: Exception | None = None
        self._cancelled, self._ended = threading.Event(), threading.Event()
        threading.Thread(target=self._work, daemon=True).start()

    def cancel(self) -> None:
        """Soon nothing of it runs."""
        self._cancelled.set()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended by then."""
        return self._ended.wait(seconds)

    def result(self) -> object:
        """What the worker answered (`answers`), once it has ended.

        Raises:
            UserError: what is wrong, in a sentence; Cancelled, which is one, if it was.
        """
        self._ended.wait()
        if self._error is not None:
            raise self._error
        return self._answer

    def _work(self) -> None:
        worker, idle = None, False
        try:
            worker = self._workers.taken()
            worker.ask(self._request)
            idle = self._listen_to(worker)
        except Exception as error:
            self._error = error
        finally:
            if worker is not None:
                self._workers.done(worker, idle=idle)
            if self._answer is None and self._tidy is not None:
                self._tidy()
            self._ended.set()

    def _listen_to(self, worker: Worker) -> bool:
        """Until there is an answer or an error; whether the process can go on."""
        begun = time.monotonic()
        while True:
            try:
                message = worker.messages.get(timeout=_TICK)
            except queue.Empty:
                message = {}
            seconds = time.monotonic() - begun
            if self._cancelled.is_set():
                raise Cancelled("cancelled")
            if "error" in message:
                self._error = UserError(str(message["error"]))
                return message is not _ENDED
            if "answer" in message:
                self._answer = message["answer"]
                return True
            if seconds > self._seconds:
                raise UserError(f"a job may take {self._seconds:g} seconds here; this one was not ready by then")
            if "frames" in message:
                self.progress = Progress(message["frames"], message["total"], seconds)  # type: ignore[arg-type]


class Workers:
    """Those that are idle, to be used again: their models are loaded. `close` ends all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: set[Worker] = set()
        self._idle: list[Worker] = []
        self._closed = False
        self.done(self.taken(), idle=True)  # is ready when the first request comes

    def taken(self) -> Worker:
        with self._lock:
            if self._closed:
                raise Cancelled("the server ends")
            while self._idle:
                worker = self._idle.pop()
                if worker.lives:
                    return worker
                self._all.discard(worker)
            worker = Worker()
            self._all.add(worker)
            return worker

    def done(self, worker: Worker, *, idle: bool) -> None:
        with self._lock:
            if idle and not self._closed:
                self._idle.append(worker)
                return
            self._all.discard(worker)
        worker.kill()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            everyone = [*self._all]
        for worker in everyone:
            worker.kill()
