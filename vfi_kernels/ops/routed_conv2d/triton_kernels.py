"""routed_conv2d in Triton. The kernel is in triton_convolve.py, the gradient op in triton_grad.py."""

from torch import Tensor

from vfi_kernels._results import empty_result
from vfi_kernels.ops.routed_conv2d import reference
from vfi_kernels.ops.routed_conv2d.triton_convolve import arranged, convolve, form
from vfi_kernels.ops.routed_conv2d.triton_grad import routed_conv2d_grad

__all__ = ["routed_conv2d", "routed_conv2d_", "routed_conv2d_grad"]


def routed_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, indices: Tensor, patch: int, stride: int, transposed: bool,
    padding_mode: str, allow_tf32: bool,
) -> Tensor:  # fmt: skip
    """The convolved patches, one after another; zeros for rows that name none."""
    c_out, out_patch = reference.check(x, weight, bias, indices, patch, stride, transposed, padding_mode)
    out = empty_result(x, (indices.shape[0], c_out, out_patch, out_patch))
    f, w = form(x, weight, patch, stride, transposed, padding_mode), arranged(weight, transposed)
    convolve(f, x, w, indices.contiguous(), out, allow_tf32, compact=True, bias=bias)
    return out


def routed_conv2d_(
    x: Tensor, weight: Tensor, bias: Tensor | None, indices: Tensor, patch: int, stride: int, transposed: bool,
    padding_mode: str, activation: str, activation_weight: Tensor | None, negative_slope: float, allow_tf32: bool,
    base: Tensor,
) -> None:  # fmt: skip
    """The convolved patches with their activation, where they belong in `base`."""
    c_out, out_patch = reference.check(x, weight, bias, indices, patch, stride, transposed, padding_mode)
    reference.check_target(x, base, c_out, patch, out_patch)
    reference.check_activation(activation, activation_weight, x, c_out)
    f, w = form(x, weight, patch, stride, transposed, padding_mode), arranged(weight, transposed)
    convolve(
        f, x, w, indices.contiguous(), base, allow_tf32, bias=bias, slopes=activation_weight, slope=negative_slope,
        activation=activation,
    )  # fmt: skip
