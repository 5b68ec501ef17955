"""How long `vk.compat.patch` takes for a module with a hundred warps: `python benchmarks/patching.py [ROUNDS]`.

Once each of them is a text of its own with a cache of grids, as in networks that copy their warp into every part; once
all call one. Printed are processor seconds, those of child processes included, the median of rounds, on one thread.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from types import ModuleType

import torch

from vfi_kernels import compat

COUNT = 100
HEAD = "import torch\nimport torch.nn.functional as F\ngrids = {}\n"
OWN_TEXT = """
def warp_{n}(image, flow):
    key = str(flow.device), str(flow.size())
    if key not in grids:
        x = torch.linspace(-1.0, 1.0, flow.shape[3]).view(1, 1, 1, -1).expand(flow.shape[0], -1, flow.shape[2], -1)
        y = torch.linspace(-1.0, 1.0, flow.shape[2]).view(1, 1, -1, 1).expand(flow.shape[0], -1, -1, flow.shape[3])
        grids[key] = torch.cat([x, y], 1).to(flow.device)
    step = torch.cat([flow[:, 0:1] / ((image.shape[3] - 1.0) / 2.0), flow[:, 1:2] / ((image.shape[2] - 1.0) / 2.0)], 1)
    grid = (grids[key] + step).permute(0, 2, 3, 1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
"""
CALLS_ONE = "def warp_{n}(image, flow): return warp(image, flow)\n"


def module_of(code: str) -> ModuleType:
    module = ModuleType("made_up")
    exec(code, vars(module))
    return module


def seconds(make: Callable[[], ModuleType], count: int) -> float:
    module = make()
    begun = time.process_time(), os.times().children_user
    report = compat.patch(module)
    took = time.process_time() - begun[0] + os.times().children_user - begun[1]
    if len(report.replaced) != count:
        raise RuntimeError(f"patching: expected {count} functions to be replaced, got {report}")
    return took


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    own = HEAD + "".join(OWN_TEXT.replace("{n}", str(n)) for n in range(COUNT))
    one = HEAD + OWN_TEXT.replace("_{n}", "") + "".join(CALLS_ONE.replace("{n}", str(n)) for n in range(COUNT))
    for name, code, count in (("a text of its own each", own, COUNT), ("all call one", one, COUNT + 1)):
        every = [seconds(lambda code=code: module_of(code), count) for _ in range(rounds + 1)][1:]
        print(f"{COUNT} warps, {name}: {statistics.median(every):.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
