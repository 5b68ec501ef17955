"""How Triton kernels are started: tiles fixed by layout and dtype (no autotuning), on the tensors' own device."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

THREADS = 128  # four warps: enough programs per multiprocessor to hide the gathers, few enough registers to keep them


def triton_dtype(dtype: torch.dtype) -> tl.dtype:
    return tl.float64 if dtype == torch.float64 else tl.float32


def tile(x: Tensor) -> dict[str, int]:
    """BLOCK pixels and BLOCK_C channels of x that a program works on at a time.

    Neighbouring lanes take neighbouring addresses: pixels, one a lane, where a plane is contiguous; channels, 16 bytes
    a lane, where those are.
    """
    channels = triton.next_power_of_2(max(x.shape[1], 1))
    if x.stride(1) != 1 or channels == 1:
        return {"BLOCK": THREADS, "BLOCK_C": 1}
    block_c = min(channels, 64)
    return {"BLOCK": min(THREADS, THREADS * 16 // x.element_size() // block_c), "BLOCK_C": block_c}


def launch(
    kernel: triton.JITFunction,
    like: Tensor,
    size: Sequence[int],
    *args: object,
    BLOCK: int,
    parts: int = 1,
    **constants: object,
) -> None:
    """Runs `kernel` on like's device and its current stream, over like's batch of planes of `size`, BLOCK pixels each.

    The kernel's first argument is the number of programs per plane; then come `args`, each 4-dimensional tensor with
    its strides. With `parts` a sample has that many planes: what block_pixels calls the sample is b * parts + part.
    """
    blocks = triton.cdiv(size[0] * size[1], BLOCK)
    options = {"num_warps": THREADS // 32, "enable_fp_fusion": True, **constants}
    with torch.cuda.device_of(like):
        kernel[(blocks * like.shape[0] * parts,)](blocks, *map(_with_strides, args), BLOCK=BLOCK, **options)


def _with_strides(arg: object) -> object:
    if isinstance(arg, tuple):
        return tuple(map(_with_strides, arg))
    return (arg, arg.stride()) if isinstance(arg, Tensor) and arg.dim() == 4 else arg
