"""Blocks the size of pictures stay with the process of a command: their pages are not cleared again and again."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource
from vfi.files import allocator
{call}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def used(size):
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size)))
    ctypes.memset(block, 1, size)
    libc.free(block)
size = {size} << 20
used(size)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    used(size)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / size)
"""


def taken_anew(call: str, size: int) -> float:
    """How often the block's pages were taken from the system in four times of use after the first."""
    script = FAULTS.format(call=call, size=size)
    return float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told so")
@pytest.mark.parametrize("size", [40, 300])
def test_large_blocks_are_kept(size):
    assert taken_anew("", size) > 3  # what is gained; if this fails, the module is not needed any more
    assert taken_anew("allocator.keep_blocks()", size) < 0.1


KEPT = """
from vfi.files import allocator
allocator.keep_blocks()
import torch
from vfi.networks.memory import peak_bytes
half = [torch.ones(20 << 20, dtype=torch.uint8) for _ in range(10)]
last = torch.ones(1 << 20, dtype=torch.uint8)
del half  # free, and below what is not
print(*(peak_bytes(lambda: torch.ones(size << 20, dtype=torch.uint8), "cpu") / (size << 20) for size in (30, 100)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told so")
def test_memory_is_measured_all_the_same():
    done = subprocess.run([sys.executable, "-c", KEPT], check=True, capture_output=True, text=True)
    assert all(0.95 < float(share) < 1.3 for share in done.stdout.split()), done.stdout


def test_the_command_says_so(monkeypatch):
    from vfi.commands import program

    called = []
    monkeypatch.setattr(program, "keep_blocks", lambda: called.append(True))
    assert program.exit_code("vfi", lambda: None) == 0
    assert called
