"""Functions that see more than a pixel and that a halo serves, and ops that it does not."""

import torch
import torch.nn.functional as F

OP = "RoutedBlock"
# What pads with zeros, and where among its arguments a stride stands that patches must be multiples of.
CONVOLUTIONS: dict[object, int | None] = {
    torch.conv2d: 3,
    torch.conv_transpose2d: None,
    torch.ops.vfi_kernels.modulated_deform_conv2d.default: 5,
}
# What is of single pixels as long as one of its arguments is None, and where that stands.
LOCAL = {torch.ops.vfi_kernels.mixture_lora.default: 8}
POOLS = (F.max_pool2d, F.max_pool2d_with_indices, F.avg_pool2d, torch.max_pool2d)
OURS = frozenset(
    op
    for name in torch._C._dispatch_get_all_op_names()
    if name.startswith("vfi_kernels::")
    for packet in [getattr(torch.ops.vfi_kernels, name.removeprefix("vfi_kernels::").split(".")[0])]
    for op in (packet, packet.default)
    if op not in CONVOLUTIONS and op not in LOCAL
)
NEAREST = ("nearest", "nearest-exact")
# Factors of interpolation, and how many pixels become one. Above 40 torch's float32 positions are not those of n.
SCALES = {**{1 / n: n for n in range(1, 41)}, **{float(n): 1 for n in range(1, 41)}}
SCALED = "a scale_factor of n or 1 / n with a whole n up to 40"


def pair(value: float | list[float] | tuple[float, ...]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def largest(value: int | list[int] | tuple[int, ...]) -> int:
    return max(value) if isinstance(value, (list, tuple)) else value
