"""What a call costs when there is nothing to compute, and what importing the package costs."""

import statistics
import subprocess
import sys
from collections.abc import Callable

from vfi_kernels.bench.jobs import RECORDINGS, Job, choose_cases, plan

TINY = "1x3x4x4"
PROBE = """
import time
start = time.perf_counter()
import torch
middle = time.perf_counter()
import vfi_kernels
end = time.perf_counter()
print(middle - start, end - middle)
"""


def overhead_jobs(op: list[str] | None) -> list[Job]:
    """The first case of every op on 4x4 images, under each of autograd's states."""
    first = {case.op: case.name for case in reversed(choose_cases(op))}
    return plan(op=list(reversed(first.values())), shape=[TINY], recording=RECORDINGS, threads=[1])


def import_seconds(times: int, say: Callable[[str], None]) -> dict[str, float]:
    """Medians over fresh processes: torch's own import, then that of vfi_kernels after it."""
    samples = []
    for n in range(times):
        say(f"import in a fresh process, {n + 1} of {times}")
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
        samples.append([float(word) for word in done.stdout.split()])
    torch_alone, ours = zip(*samples, strict=True)
    return {
        "torch_s": statistics.median(torch_alone),
        "vfi_kernels_s": statistics.median(ours),
        "processes": times,
    }
