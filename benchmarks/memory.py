"""Peak memory of a call beyond its inputs and its output, on the CPU, in a process of its own (Linux).

python benchmarks/memory.py     modulated_deform_conv2d, 64 channels, 1088x1920, float32: forward
"""

import gc
import re
import subprocess
import sys
from pathlib import Path

import torch

import vfi_kernels as vk

MIB = 1 << 20


def resident(field: str) -> int:
    """VmRSS or VmHWM (its highest value) of this process, in bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def deformable(channels: int = 64, height: int = 1088, width: int = 1920, parts: int = 8) -> int:
    """Bytes beyond arguments and result of one call."""
    x = torch.rand(1, channels, height, width)
    offset = torch.empty(1, parts * 18, height, width).normal_(std=2)
    mask = torch.empty(1, parts * 9, height, width).uniform_()
    weight, small = torch.rand(channels, channels, 3, 3), slice(0, 8)
    with torch.inference_mode():
        vk.modulated_deform_conv2d(x[..., small, small], offset[..., small, small], None, weight, padding=1)  # warm
        gc.collect()
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the highest value starts again
        out = vk.modulated_deform_conv2d(x, offset, mask, weight, padding=1)
    return resident("VmHWM") - before - out.nbytes


def in_a_process() -> float | None:
    """MiB; None where the system does not tell."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True)
    return float(done.stdout.split()[-2]) if done.returncode == 0 else None


if __name__ == "__main__":
    columns = 9 * 64 * 1088 * 1920 * 4 / MIB
    print(f"a column buffer would take {columns:.0f} MiB; beyond inputs and output: {deformable() / MIB:.1f} MiB")
