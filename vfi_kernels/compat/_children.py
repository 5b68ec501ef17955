"""Calls in a process of their own: whatever they do there, hang, crash or leave, nothing of it is seen here."""

import contextlib
import faulthandler
import gc
import os
import pickle
import select
import signal
import struct
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from vfi_kernels.compat import _trials

R = TypeVar("R")
GRACE = 1.0  # seconds more than a trial has, until the process ends that does not stop by itself
READY = b"ready"


class Ended(Exception):
    """The process ended, or had to be, before it answered; the text says how."""


def answers(tasks: Sequence[Callable[[], R]], failed: Callable[[str], R], seconds: float = _trials.SECONDS) -> list[R]:
    """What each task returns, called in a fork of this process; `failed(why)` for one that hangs or ends it, after
    which another fork goes on with the rest. What they return is pickled.

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
                found.append(pickle.loads(child.read(seconds + GRACE)))
        except Ended as end:
            found.append(failed(str(end)))
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
    """A fork that sends the pickled result of one task after another."""

    def __init__(self, tasks: Sequence[Callable[[], object]]):
        self.pipe, writes = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of forks beside threads: it computes on one, as workers of a DataLoader do
            self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.pipe)
                serve(tasks, writes)
            finally:
                os._exit(0)
        os.close(writes)

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
            if not select.select([self.pipe], [], [], seconds)[0]:
                raise Ended(f"it did not end within {seconds - GRACE:g} s")
            part = os.read(self.pipe, count - len(found))
            if not part:
                raise Ended(f"it ended its process ({self.how_it_ended()})")
            found += part
        return found

    def how_it_ended(self) -> str:
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        code = os.waitstatus_to_exitcode(status)
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def end(self) -> None:
        os.close(self.pipe)
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def serve(tasks: Sequence[Callable[[], object]], pipe: int) -> None:
    """In the child: nothing is printed, nothing of the parent's is finalised, one thread computes."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    faulthandler.disable()
    gc.disable()
    torch.set_num_threads(1)
    try:
        x = torch.ones(1, device="cpu", requires_grad=True)
        torch.autograd.grad(x.exp().sum(), x)
    except RuntimeError:
        send(pipe, b"no gradients")
        return
    send(pipe, READY)
    for task in tasks:
        send(pipe, pickle.dumps(task()))


def send(pipe: int, message: bytes) -> None:
    left = struct.pack("<q", len(message)) + message
    while left:
        left = left[os.write(pipe, left) :]
