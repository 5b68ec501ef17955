"""Calls in a process of their own: whatever they do there, hang, crash or leave, nothing of it is seen here."""

import contextlib
import faulthandler
import gc
import os
import pickle
import select
import signal
import socket
import struct
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from vfi_kernels.compat import _confinement, _trials

R = TypeVar("R")
GRACE = 1.0  # seconds more than a trial has, until the process ends that does not stop by itself
READY = b"ready"


class Ended(Exception):
    """The process ended, or had to be, before it answered; the text says how."""


def answers(tasks: Sequence[Callable[[], R]], failed: Callable[[str], R], seconds: float = _trials.SECONDS) -> list[R]:
    """What each task returns, called in a fork of this process; `failed(why)` for one that hangs or ends it, after
    which another fork goes on with the rest, and for one that tried to write a file. What they return is pickled.

    Where there is no fork, none that can compute (macOS), or autograd does not work in one (threads of a GPU were
    started before), they are called here, in turn.
    """
    found: list[R] = []
    forks = hasattr(os, "fork") and sys.platform != "darwin"
    while len(found) < len(tasks):
        child = Child(tasks[len(found) :]) if forks else None
        try:
            if child is None or not child.is_ready(seconds):
                return found + [called_here(task, failed, seconds) for task in tasks[len(found) :]]
            while len(found) < len(tasks):
                done, answer = pickle.loads(child.read(seconds + GRACE))
                answer = answer if done else failed(answer)
                found.append(failed(f"it asks for {child.wanted[0]!r}") if child.wanted else answer)
                child.wanted.clear()
        except Ended as end:
            found.append(failed(str(end)))
        except Exception as error:  # it wrote to files that it did not open, or closed them
            found.append(failed(f"it disturbed its own trial ({type(error).__name__})"))
        finally:
            if child is not None:
                child.end()
    return found


def called_here(task: Callable[[], R], failed: Callable[[str], R], seconds: float) -> R:
    try:
        with _trials.limited(seconds):
            return task()
    except _trials.TooLong:
        return failed(f"it did not end within {seconds:g} s")


class Child:
    """A fork that sends the pickled result of one task after another, and can write no files.

    wanted: the files that it tried to write, as far as that is seen from here.
    """

    def __init__(self, tasks: Sequence[Callable[[], object]]):
        self.pipe, theirs = socket.socketpair()
        self.watch: int | None = None
        self.wanted: list[str] = []
        with warnings.catch_warnings():
            # Of forks beside threads: it computes on one, as workers of a DataLoader do.
            warnings.simplefilter("ignore")
            self.pid = os.fork()
        if self.pid == 0:
            try:
                self.pipe.close()
                serve(tasks, theirs)
            finally:
                os._exit(0)
        theirs.close()

    def is_ready(self, seconds: float) -> bool:
        try:
            return self.read(seconds) == READY
        except Ended:
            return False

    def read(self, seconds: float) -> bytes:
        """One message. Ended if none comes."""
        (size,) = struct.unpack("<q", self.bytes_of(8, seconds))
        return self.bytes_of(size, seconds)

    def bytes_of(self, count: int, seconds: float) -> bytes:
        found = b""
        while len(found) < count:
            self.wait(seconds)
            part, files, _, _ = socket.recv_fds(self.pipe, count - len(found), 1)
            self.watch = files[0] if files else self.watch
            if not part:
                raise Ended(f"it ended its process ({self.how_it_ended()})")
            found += part
        return found

    def wait(self, seconds: float) -> None:
        """Until there is something to read. seconds: as `limited` counts them."""
        began, used = time.monotonic(), self.processor_time()
        pipe = self.pipe.fileno()
        while True:
            poll = select.poll()  # select takes no file beyond the 1024th
            for file in [pipe] if self.watch is None else [pipe, self.watch]:
                poll.register(file, select.POLLIN)
            ready = [file for file, _ in poll.poll(100)]
            if pipe not in ready and _trials.is_over(seconds, time.monotonic() - began, self.processor_time() - used):
                raise Ended(f"it did not end within {seconds - GRACE:g} s")
            if self.watch is not None and self.watch in ready:
                path = _confinement.tried(self.watch)
                self.wanted += [] if path is None else [path]
            if pipe in ready:
                return

    def processor_time(self) -> float:
        """In seconds; Linux, where a process' clock has this number."""
        with contextlib.suppress(OSError):
            return time.clock_gettime(~self.pid << 3 | 2)
        return 0.0

    def how_it_ended(self) -> str:
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        code = os.waitstatus_to_exitcode(status)
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def end(self) -> None:
        self.pipe.close()
        if self.watch is not None:
            os.close(self.watch)
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def serve(tasks: Sequence[Callable[[], object]], pipe: socket.socket) -> None:
    """In the child: nothing is printed or written, nothing of the parent's is finalised, one thread computes."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    faulthandler.disable()
    gc.disable()
    sys.dont_write_bytecode = True
    torch.set_num_threads(1)
    try:
        x = torch.ones(1, device="cpu", requires_grad=True)
        torch.autograd.grad(x.exp().sum(), x)
    except RuntimeError:
        send(pipe, b"no gradients")
        return
    watch = _confinement.confine()
    _trials.watch_all_threads()
    send(pipe, READY, watch)
    for task in tasks:
        try:
            answer = (True, task())
        except Exception as error:
            answer = (False, f"its trial failed: {type(error).__name__}: {error}")
        except BaseException as error:  # which would have ended the process of who calls it
            answer = (False, f"it raises {type(error).__name__}")
        send(pipe, pickle.dumps(answer))


def send(pipe: socket.socket, message: bytes, file: int | None = None) -> None:
    head = struct.pack("<q", len(message))
    if file is None:
        pipe.sendall(head)
    else:
        socket.send_fds(pipe, [head], [file])
        os.close(file)
    pipe.sendall(message)
