"""How much memory something takes."""

import gc
import re
from collections.abc import Callable
from pathlib import Path

import torch

from vfi.files.allocator import blocks_given_back

_SELF = Path("/proc/self")


def peak_bytes(action: Callable[[], object], device: str) -> int | None:
    """What `action` takes at most beyond what is there before; None where the system does not tell.

    On a GPU what torch allocates; on the CPU what the system gives to this process, with all its libraries.
    """
    gc.collect()  # what nobody holds any more must not go in the middle of it
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        action()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with blocks_given_back():
        before_it = _status("VmRSS") if _forget_peak() else None
        action()
        after = _status("VmHWM")
    return None if before_it is None or after is None else after - before_it


def _forget_peak() -> bool:
    """Linux: the peak is from now on."""
    try:
        (_SELF / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(name: str) -> int | None:
    """A line of Linux's account of this process, in bytes."""
    try:
        found = re.search(rf"^{name}:\s*(\d+) kB", (_SELF / "status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) * 1024
