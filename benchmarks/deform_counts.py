"""What a deformable convolution costs on CUDA, for docs/gpu.md: forward, gradients of columns (input, offset and mask)
and of the weight.

Counted by the simulator (nvcc, no GPU): some blocks of each launch of the whole image, so that taps are split among
blocks as they would be.

python benchmarks/deform_counts.py [--mode columns] [--dtype float32] [--layout nchw] [--parts 1] [--blocks 64]
"""

import argparse
import contextlib

import torch
from torch import Tensor

from vfi_kernels import modulated_deform_conv2d
from vfi_kernels.bench.jobs import DTYPES, LAYOUTS
from vfi_kernels.bench.measure import deterministically
from vfi_kernels.bench.simulate import in_any_order, plain
from vfi_kernels.bench.simulator import simulated
from vfi_kernels.ops.modulated_deform_conv2d.cases import make_inputs

SIZE = (1, 64, 256, 448)
MODES = ("forward", "columns", "weight")


def count(arguments: list[Tensor], mode: str, blocks: int, deterministic: bool) -> list[dict]:
    """The kernels of one call."""
    leaves = [t.detach().requires_grad_(mode == ("weight" if n == 3 else "columns")) for n, t in enumerate(arguments)]
    way = deterministically(contextlib.nullcontext) if deterministic else in_any_order()
    with way, simulated("9.0", ["modulated_deform_conv2d"], races=False, sample=blocks) as counts:
        out = modulated_deform_conv2d(*leaves, padding=1)
        if mode != "forward":
            counts.forget()
            torch.autograd.grad(out, [leaf for leaf in leaves if leaf.requires_grad], torch.randn_like(out))
        return counts.kernels()


def print_counts(kernels: list[dict], pixels: int, least: int | None) -> None:
    """least: bytes, where the sectors are those of all blocks."""
    for kernel in kernels:
        if "lanes" in kernel:
            conflicts = kernel["wavefronts"] / kernel["least_wavefronts"] if kernel["least_wavefronts"] else 1
            print(f"{kernel['lanes'] / pixels:9.0f}  conflicts {conflicts:.2f}  {plain(kernel['name'])}")
    print(f"{sum(kernel.get('lanes', 0) for kernel in kernels) / pixels:9.0f}  instructions per pixel, all")
    if least is not None:
        sectors = sum(kernel[f"sectors_{way}"] for kernel in kernels for way in ("read", "written", "added"))
        print(f"{32 * sectors / least:9.2f}  bytes over the least")
    most = max(kernels, key=lambda kernel: kernel.get("lanes", 0))
    for name, lanes in sorted(most["lanes_by_class"].items(), key=lambda item: -item[1]):
        print(f"{lanes / pixels:9.0f}  of them {name}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=MODES, nargs="+", default=MODES, help="what is counted (default: all)")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="of all tensors (default: float16)")
    parser.add_argument(
        "--layout", choices=LAYOUTS, default="channels_last", help="of all tensors (default: channels_last)"
    )
    parser.add_argument("--parts", type=int, default=8, help="offset groups (default: 8)")
    parser.add_argument("--blocks", type=int, default=64, help="of each launch (default: 64)")
    parser.add_argument(
        "--whole", help="another size, all blocks, since only so are sectors right (default: 1x64x256x448, some blocks)"
    )
    options = parser.parse_args()
    size = tuple(map(int, options.whole.split("x"))) if options.whole else SIZE
    torch.manual_seed(0)
    made = make_inputs(*size, parts=options.parts, dtype=DTYPES[options.dtype])
    layout = torch.channels_last if options.layout == "channels_last" else torch.contiguous_format
    arguments = [t.contiguous(memory_format=layout) for t in made]
    pixels = size[0] * size[2] * size[3]
    blocks = 0 if options.whole else options.blocks
    for mode in options.mode:
        for deterministic in (False, True) if mode == "columns" else (False,):
            torch.manual_seed(0)
            kernels = count(arguments, mode, blocks, deterministic)
            out = arguments[0]  # as many channels
            gradients = {"forward": [out], "columns": [out, *arguments[:3]], "weight": [out, arguments[3]]}[mode]
            least = sum(t.nbytes for t in (*arguments, *gradients)) if options.whole else None
            print(f"\n{mode}{', deterministic' * deterministic}")
            print_counts(kernels, pixels, least)


if __name__ == "__main__":
    main()
