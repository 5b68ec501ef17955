"""Calling a function of someone else's to see what it computes, and leaving everything else as it was."""

import contextlib
import ctypes
import io
import os
import random
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor

from vfi_kernels._types import Arguments, Function
from vfi_kernels.compat import _effects, _emulation, _state
from vfi_kernels.compat._folders import library_folders

LEARNS = "it reads a tensor that requires a gradient, which ours would not give it"
SECONDS = 5.0  # for all that is tried of one function
MOST_CLOCK = 4  # times as many by the clock, on a machine that is busy


class CannotRun(Exception):
    """What a trial call raised or did, in one line."""

    def __init__(self, error: BaseException | str):
        text = error if isinstance(error, str) else str(error).strip()
        first = text.splitlines()[0] if text else ""
        kind = "" if isinstance(error, str) else type(error).__name__
        super().__init__(": ".join(part for part in (kind, first) if part))


class Misbehaves(CannotRun):
    """It ran, and did what nothing that takes its place would do."""


class TooLong(BaseException):
    """Raised in a function that does not end."""


def outcome(
    function: Function, arguments: Sequence[object], leaves: tuple[Tensor, ...] = (), source: Function | None = None,
    emulated: bool = False, once: bool = False,
) -> tuple[object, list[Tensor | None]]:  # fmt: skip
    """What `function` returns, and its gradients for `leaves`; CannotRun if it raises anything but KeyboardInterrupt,
    Misbehaves if it prints, warns, draws random numbers, writes into its arguments or into more than caches, goes by
    the values of tensors, or asks for a file, the network or another process. It is called again to tell, but `once`.

    It runs with plain defaults of torch, and what it changed is put back. `source`: whose module and closure these
    are, if `function` is a bound form of it. `emulated`: on a GPU that is this CPU.
    """
    given = [a for a in arguments if isinstance(a, Tensor)]
    before = [(a, a._version, a.detach().clone()) for a in given]
    said, asked = io.StringIO(), list[str]()
    try:
        gpu = _emulation.cpu_as_cuda() if emulated else contextlib.nullcontext()
        with undisturbed(source or function, said, asked), gpu:
            if source is None:
                out = function(*arguments)
            else:
                with _effects.seen(source, once) as call:
                    out = call(function, arguments)
            gradients = gradients_of(out, leaves)
    except (KeyboardInterrupt, TooLong):
        raise
    except _effects.Leaves as effect:
        raise Misbehaves(str(effect)) from None
    except BaseException as error:
        raise Misbehaves(asked[0]) if asked else CannotRun(error) from None
    if asked:
        raise Misbehaves(asked[0])
    if said.getvalue():
        raise Misbehaves("it prints")
    if any(a._version != version or not same_bits(a, copy) for a, version, copy in before):
        raise Misbehaves("it writes into its arguments")
    if is_recorded(out) and not any(a.requires_grad for a in given):
        raise Misbehaves(LEARNS)
    return out, gradients


def is_recorded(out: object) -> bool:
    """Whether something of a result has a gradient."""
    parts = out if isinstance(out, (tuple, list)) else [out]
    return any(isinstance(part, Tensor) and part.requires_grad for part in parts)


def same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) or (a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all()))


def gradients_of(out: object, leaves: tuple[Tensor, ...]) -> list[Tensor | None]:
    """Those of the first tensor that is returned, times weights that differ."""
    first = out[0] if isinstance(out, (tuple, list)) and out else out
    if not (leaves and isinstance(first, Tensor) and first.requires_grad):
        return [None for _ in leaves]
    weights = torch.linspace(-1, 1, first.numel(), device="cpu", dtype=first.dtype).view(first.shape)
    # As torch.autograd.grad, which imports a second's worth of torch.fx for weights.
    engine = torch.autograd.Variable._execution_engine
    return list(engine.run_backward((first,), (weights,), False, False, leaves, True, False))


@contextlib.contextmanager
def undisturbed(function: Function, said: io.StringIO, asked: list[str]) -> Iterator[None]:
    """Inside, `function` can be called without a trace. What it prints is in `said`, what it must not do in `asked`."""
    numpy = sys.modules.get("numpy")
    python_state, numpy_state = random.getstate(), numpy.random.get_state() if numpy else None
    dtype = torch.get_default_dtype()
    elsewhere = torch.get_default_device().type != "cpu"
    with (
        _state.restored(function),
        torch.random.fork_rng(devices=[]),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        warnings.catch_warnings(),
        torch.device("cpu") if elsewhere else contextlib.nullcontext(),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        watched(asked),
    ):
        warnings.simplefilter("ignore")
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            random.setstate(python_state)
            if numpy:
                numpy.random.set_state(numpy_state)


# Of sys.audit: what a function that only computes does not ask for. Files that Python imports may be read.
FORBIDDEN = (
    "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request",
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.kill",
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.link", "os.symlink",
    "os.utime", "os.chown", "os.chflags", "os.setxattr", "os.removexattr", "sqlite3.connect",
    "shutil.rmtree", "shutil.copyfile", "shutil.move", "ctypes.dlopen",
)  # fmt: skip
IMPORTED = (".py", ".pyc", ".so", ".pyd", ".pth", ".zip", ".toml", ".dll", ".dylib")
READABLE = ("/proc/", "/sys/", "/dev/")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
watching: threading.local | SimpleNamespace = threading.local()
hooks: list[Function] = []  # sys.addaudithook has no counterpart: one, which sleeps outside of trials


def watch_all_threads() -> None:
    """For this process, which makes nothing but trials: in one, no thread may do what a trial must not."""
    global watching
    watching = SimpleNamespace(asked=None)


@contextlib.contextmanager
def watched(asked: list[str]) -> Iterator[None]:
    """Inside, files, the network and other processes are refused, and what was asked for is in `asked`: by this thread,
    or by all of them where all are watched."""
    if not hooks:
        hooks.append(refuse)
        sys.addaudithook(refuse)
    watching.asked = asked
    try:
        yield
    finally:
        watching.asked = None


def refuse(event: str, arguments: Arguments) -> None:
    asked = getattr(watching, "asked", None)
    if asked is None or not (event == "open" or event in FORBIDDEN):
        return
    if event == "open" and isinstance(arguments[0], int):
        return
    if event == "open":
        path, mode, flags = arguments
        writes = bool(flags & WRITES) or (isinstance(mode, str) and any(letter in mode for letter in "wax+"))
        path = os.fsdecode(path)
        if not writes and (path.endswith(IMPORTED) or path.startswith((*READABLE, *library_folders()))):
            return
    what = f"it asks for {os.fsdecode(arguments[0])!r}" if event == "open" else f"it calls {event}"
    asked.append(what)
    raise PermissionError(f"{what}, during a trial")


def is_over(seconds: float, clock: float, processor: float) -> bool:
    """Whether a trial of so many seconds is over: by those of the processor, of which a busy machine gives few; by the
    clock where it waits, or for much longer."""
    return processor > seconds or clock > MOST_CLOCK * seconds or (clock > seconds and processor < seconds / 10)


@contextlib.contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """Raises TooLong inside, in Python code that takes longer; see `is_over`."""
    thread, fired, raised = ctypes.c_ulong(threading.get_ident()), threading.Event(), False
    done = threading.Event()

    def stop() -> None:
        began, used = time.monotonic(), time.process_time()
        while not done.wait(0.1):
            if is_over(seconds, time.monotonic() - began, time.process_time() - used):
                fired.set()
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TooLong))
                return

    threading.Thread(target=stop, daemon=True).start()
    try:
        yield
    except TooLong:
        raised = True
        raise
    finally:
        done.set()
        if fired.is_set() and not raised:
            # It may be on its way. Taking it back would leave Python's flag for it set: every later call asks for it
            # then, and with a profiler never ends.
            with contextlib.suppress(TooLong):
                for _ in range(100):
                    time.sleep(0.001)
