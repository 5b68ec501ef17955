"""Products of tiles for Triton kernels: which type the factors have, and with what they are multiplied."""

import torch
import triton
import triton.language as tl

from vfi_kernels._types import Options
from vfi_kernels.ops._shared.triton_math.launch import triton_dtype

DTYPES = {
    torch.float64: tl.float64,
    torch.float32: tl.float32,
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
}
LEAST = 16  # of every side of a tile that tl.dot takes


def product_constants(dtype: torch.dtype, acc: torch.dtype, allow_tf32: bool) -> Options:
    """ACC of the sums, KIND of the factors, DOT and PRECISION for `add_product`, where tensors are `dtype`."""
    kind = dtype if acc == torch.float32 else acc
    # Triton's interpreter multiplies the bits of bfloat16: there the rounded factors are widened first.
    widen = kind == torch.bfloat16 and triton.knobs.runtime.interpret
    return {
        "ACC": triton_dtype(acc),
        "KIND": DTYPES[kind],
        "DOT": acc == torch.float32,
        "PRECISION": "widen" if widen else "tf32" if allow_tf32 else "ieee",
        "num_stages": 1,  # loads ahead of their use cost more registers than there are
    }


def side(channels: int, most: int, dot: bool) -> int:
    """A side of a tile for that many channels. Without tl.dot the summed side is walked one by one."""
    least: int = max(triton.next_power_of_2(max(channels, 1)), LEAST if dot else 1)
    return min(least, most)


@triton.jit
def add_product(total, a, b, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """total + a @ b. Not every GPU has tl.dot for float64: then a is one column and b one row."""
    if not DOT:
        return total + a * b
    elif PRECISION == "widen":
        return tl.dot(a.to(tl.float32), b.to(tl.float32), total)
    else:
        return tl.dot(a, b, total, input_precision=PRECISION)
