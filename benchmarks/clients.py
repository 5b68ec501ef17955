"""The table of clients in docs/migrate.md: the warps of public networks, written anew (client_warps.py), before and
after vk.compat.patch: what it finds that they compute, the largest difference, and how many times faster a call is.

python benchmarks/clients.py [rounds]    prints the table; one thread, its processor time, medians of interleaved calls
"""

import contextlib
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from types import ModuleType

import client_warps as patterns
import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels import compat
from vfi_kernels.bench.report import markdown_table
from vfi_kernels.compat import _emulation, _warp_objects

SIZE = (1, 64, 180, 320)
SPREAD = 8.0  # of flows, in pixels; they change over some 16 pixels, as flows do
HEADER = ["warps of", "found: it", "replaced by", "largest difference (values up to 1)", "times faster"]


def module_of(published: str, value: object) -> ModuleType:
    """A client: a module with the function or class under the name that clients have."""
    module = ModuleType("client")
    setattr(module, published, value)
    if isinstance(value, type):
        value.__module__ = "client"
    return module


def call_of(name: str, value: object, image: Tensor, flow: Tensor) -> Callable[[], Tensor | tuple[Tensor, ...]]:
    """One call of what `value` is now."""
    if isinstance(value, type):
        arguments = {"super_slomo": (SIZE[3], SIZE[2], "cpu"), "bilateral": (1,)}.get(name, ())
        net = value(*arguments).eval()
        return lambda: net(image, flow)
    grid = _warp_objects.grid_arguments(image, flow) if name == "vs_rife" else ()
    return lambda: value(image, flow, *grid)  # type: ignore[operator]


def seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def first(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    return result if isinstance(result, Tensor) else result[0]


def row(name: str, rounds: int) -> list[str]:
    published, clients, value = {**patterns.FUNCTIONS, **patterns.CLASSES}[name]
    module = module_of(published, value)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(SIZE, generator=generator)
    flow = torch.randn(1, 2, *(n // 16 for n in SIZE[2:]), generator=generator) * SPREAD
    flow = F.interpolate(flow, SIZE[2:], mode="bilinear")
    if isinstance(value, type):  # a subclass that keeps what is replaced
        kept = type(published, (value,), {n: v for n, v in vars(value).items() if n in ("forward", "warp")})
    else:
        kept = value
    (found,) = compat.patch(module).replaced
    if "(B, H, W, 2)" in found.reason:
        flow = flow.permute(0, 2, 3, 1).contiguous()
    if name == "half_only":
        image, flow = image.half(), flow.half()
    theirs, ours = (call_of(name, v, image, flow) for v in (kept, getattr(module, published)))
    with contextlib.ExitStack() as stack, torch.no_grad():
        try:
            expected = theirs()
        except (RuntimeError, AssertionError, TypeError):  # it wants a GPU
            stack.enter_context(_emulation.cpu_as_cuda())
            expected = theirs()
        if name == "half_only":  # torch's own grid_sample of halves reads beyond a picture of this width
            expected = patterns.rife(image.float(), flow.float())
        ours()  # the first call after theirs filled its cache is computed both ways, and is theirs
        difference = (first(ours()).float() - first(expected).float()).abs().max().item()
        pairs = [(seconds(theirs), seconds(ours)) for _ in range(rounds)]
    compat.unpatch()
    ratio = statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)
    what = found.reason.removeprefix("it computes the same: ").partition("; also")[0]
    return [clients, what, f"`{found.by}`", f"{difference:.1g}", f"{ratio:.1f}"]


def table(rounds: int = 15) -> str:
    return markdown_table(HEADER, [row(name, rounds) for name in (*patterns.FUNCTIONS, *patterns.CLASSES)])


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of clients that do not say align_corners
    print(table(int(sys.argv[1]) if len(sys.argv) > 1 else 15))
