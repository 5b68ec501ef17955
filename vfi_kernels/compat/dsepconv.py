"""The deformable separable convolution of EDSC, which LDMVFI, TLBVFI and CBB took over: FunctionDSepconv."""

import torch
from torch import Tensor

from vfi_kernels import _autocast as autocast
from vfi_kernels._arguments import expect, expect_image, expect_tensors
from vfi_kernels._overrides import overridable
from vfi_kernels._results import accumulator
from vfi_kernels._tracing import of_this_size
from vfi_kernels.compat._grids import as_under_autocast
from vfi_kernels.compat._names import any_spelling
from vfi_kernels.ops.modulated_deform_conv2d.op import modulated_deform_conv2d

__all__ = ["FunctionDSepconv"]

OP = "FunctionDSepconv"


@any_spelling
@overridable
def FunctionDSepconv(
    tensorInput: Tensor,
    tensorVertical: Tensor,
    tensorHorizontal: Tensor,
    tensorOffsetX: Tensor,
    tensorOffsetY: Tensor,
    tensorMask: Tensor,
) -> Tensor:
    """`vk.modulated_deform_conv2d` in place of dsepconv.FunctionDSepconv(...): K x K taps of every pixel, each read
    bilinearly where its offset says, times vertical, horizontal and mask. Tap (i, j) of pixel (y, x) is at
    (y + i - (K - 1) // 2 + 1 + offset_x, x + j - (K - 1) // 2 + 1 + offset_y), clipped to the image.

    Args:
        tensorInput: (B, C, H + K - 1, W + K - 1), padded by the caller.
        tensorVertical, tensorHorizontal: (B, K, H, W), weights of the rows and of the columns.
        tensorOffsetX, tensorOffsetY: (B, K K, H, W), in pixels; X is down and Y to the right, as there.
        tensorMask: (B, K K, H, W).

    Returns:
        (B, C, H, W), dtype of tensorInput; float32 inside torch.autocast.

    Raises:
        ArgumentError: if a shape, dtype or device is not one of the above.

    Differences: runs on the CPU; no CuPy; any dtype; differentiable twice. A tap whose offsets are not finite adds
    nothing. An offset whose position is clipped has the gradient 0.
    """
    expect_tensors(
        OP, tensorInput=tensorInput, tensorVertical=tensorVertical, tensorHorizontal=tensorHorizontal,
        tensorOffsetX=tensorOffsetX, tensorOffsetY=tensorOffsetY, tensorMask=tensorMask,
    )  # fmt: skip
    right = tensorVertical.dim() == 4 and tensorVertical.shape[1] > 0
    expect(right, OP, "tensorVertical of shape (B, K, H, W) with K at least 1", tuple(tensorVertical.shape))
    tensorVertical = of_this_size(tensorVertical, 1, 2, 3)
    b, taps, *size = tensorVertical.shape
    _expect_shape("tensorHorizontal", tensorHorizontal, (b, taps, *size))
    named = {"tensorOffsetX": tensorOffsetX, "tensorOffsetY": tensorOffsetY, "tensorMask": tensorMask}
    for name, tensor in named.items():
        _expect_shape(name, tensor, (b, taps * taps, *size))
    expect_image(OP, "tensorInput", tensorInput)
    _expect_shape("tensorInput", tensorInput, (b, tensorInput.shape[1], size[0] + taps - 1, size[1] + taps - 1))
    image = as_under_autocast(tensorInput)
    weights = tensorVertical.to(image.dtype).repeat_interleave(taps, 1)
    weights = weights * tensorHorizontal.to(image.dtype).repeat(1, taps, 1, 1) * tensorMask.to(image.dtype)
    offsets = torch.stack([_clipped(tensorOffsetX, taps, 0), _clipped(tensorOffsetY, taps, 1)], 2).flatten(1, 2)
    ones = image.new_ones((image.shape[1], 1, taps, taps))
    with autocast.disabled(image):
        return modulated_deform_conv2d(image, offsets, weights, ones, None)


def _expect_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    expect(tuple(tensor.shape) == shape, OP, f"{name} of shape {shape}", tuple(tensor.shape))


def _clipped(offsets: Tensor, taps: int, axis: int) -> Tensor:
    """Offsets of the deformable convolution along an axis, 0 down or 1 to the right, which stay inside the image."""
    offsets = offsets.to(accumulator(offsets))
    size = offsets.shape[2 + axis]
    tap, pixel = (torch.arange(n, dtype=offsets.dtype, device=offsets.device) for n in (taps, size))
    tap = (tap[:, None] if axis == 0 else tap).expand(taps, taps).reshape(-1, 1, 1)
    start = tap + (pixel[:, None] if axis == 0 else pixel)  # of the tap where its offset is 0
    return torch.clamp(offsets + (1 - (taps - 1) // 2), min=-start, max=size + taps - 2 - start)
