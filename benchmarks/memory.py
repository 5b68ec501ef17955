"""Peak memory of a call beyond its inputs and its output, on the CPU, in a process of its own (Linux).

python benchmarks/memory.py                modulated_deform_conv2d, 64 channels, 1088x1920, float32: forward
python benchmarks/memory.py trajectory     trajectory_warp, 9 keyframes, 24 taus, 3 channels, 576x1024, float32: forward
"""

import gc
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import vfi_kernels as vk

MIB = 1 << 20


def resident(field: str) -> int:
    """VmRSS or VmHWM (its highest value) of this process, in bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def beyond(call: Callable[..., Tensor], *arguments: Tensor) -> int:
    """Bytes beyond arguments and result of one call, after one on small cuts of the arguments."""
    with torch.inference_mode():
        call(*(t[..., :8, :8] for t in arguments))
        gc.collect()
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the highest value starts again
        out = call(*arguments)
    return resident("VmHWM") - before - out.nbytes


def deformable(channels: int = 64, height: int = 1088, width: int = 1920, parts: int = 8) -> int:
    x = torch.rand(1, channels, height, width)
    offset = torch.empty(1, parts * 18, height, width).normal_(std=2)
    mask = torch.empty(1, parts * 9, height, width).uniform_()
    weight = torch.rand(channels, channels, 3, 3)
    return beyond(lambda *cut: vk.modulated_deform_conv2d(*cut, weight, padding=1), x, offset, mask)


def trajectory(keyframes: int = 9, taus: int = 24, height: int = 576, width: int = 1024) -> int:
    image, flows = torch.rand(1, 3, height, width), 4 * torch.randn(1, keyframes, 2, height, width)
    return beyond(lambda *cut: vk.trajectory_warp(*cut, torch.linspace(0, 1, taus)), image, flows)


def in_a_process(*what: str) -> float | None:
    """MiB; None where the system does not tell."""
    done = subprocess.run([sys.executable, __file__, *what], capture_output=True, text=True)
    return float(done.stdout.split()[-2]) if done.returncode == 0 else None


if __name__ == "__main__":
    if sys.argv[1:] == ["trajectory"]:
        torch.set_num_threads(2)
        frame = 3 * 576 * 1024 * 4 / MIB
        print(f"an output frame takes {frame:.1f} MiB; beyond inputs and output: {trajectory() / MIB:.1f} MiB")
    else:
        columns = 9 * 64 * 1088 * 1920 * 4 / MIB
        print(f"a column buffer would take {columns:.0f} MiB; beyond inputs and output: {deformable() / MIB:.1f} MiB")
