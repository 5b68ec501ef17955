"""How Triton kernels are started: tiles fixed by layout and dtype (no autotuning), on the tensors' own device."""

import torch
import triton
import triton.language as tl
from torch import Tensor

THREADS = 128  # four warps: enough programs per multiprocessor to hide the gathers, few enough registers to keep them


def triton_dtype(dtype: torch.dtype) -> tl.dtype:
    return tl.float64 if dtype == torch.float64 else tl.float32


def tile(x: Tensor) -> dict[str, int]:
    """BLOCK pixels and BLOCK_C channels of x a program works on at a time.

    Neighbouring lanes take neighbouring addresses: pixels where a plane is contiguous, with up to 4 channels in flight
    per pixel; channels where those are contiguous, 16 bytes a lane.
    """
    channels = triton.next_power_of_2(max(x.shape[1], 1))
    if x.stride(1) != 1 or channels == 1:
        return {"BLOCK": THREADS, "BLOCK_C": 1}
    block_c = min(channels, 64)
    return {"BLOCK": min(THREADS, THREADS * 16 // x.element_size() // block_c), "BLOCK_C": block_c}


def launch(
    kernel: triton.JITFunction, like: Tensor, size: tuple[int, int], *args: object, BLOCK: int, **constants: object
) -> None:
    """Runs `kernel` on the current stream of like's device, over like's batch of planes of `size`, BLOCK pixels a program.

    Its first argument is the number of programs per sample; 4-dimensional tensors are followed by their strides.
    """
    blocks = triton.cdiv(size[0] * size[1], BLOCK)
    flat: list[object] = []
    for arg in args:
        flat += [arg, arg.stride()] if isinstance(arg, Tensor) and arg.dim() == 4 else [arg]
    with torch.cuda.device_of(like):
        kernel[(blocks * like.shape[0],)](blocks, *flat, BLOCK=BLOCK, num_warps=THREADS // 32, enable_fp_fusion=True, **constants)
