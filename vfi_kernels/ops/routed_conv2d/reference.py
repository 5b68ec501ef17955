"""Convolution of listed patches in plain PyTorch: the specification that the kernels are tested against."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels._arguments import expect, expect_choice, expect_image, expect_like, expect_written, shape
from vfi_kernels._options import ACTIVATIONS, PATCH_PADDING_MODES
from vfi_kernels._results import accumulator, as_result, not_needed
from vfi_kernels.ops._shared.convolution import activate
from vfi_kernels.ops._shared.reference_math import patches as math

OP = "routed_conv2d"


def check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    indices: Tensor,
    patch: int,
    stride: int,
    transposed: bool,
    padding_mode: str,
) -> tuple[int, int]:
    """Raises ArgumentError unless the arguments fit each other; otherwise C_out and the size of an output patch."""
    expect_image(OP, "input", x)
    math.check_indices(OP, indices, x, "input")
    math.check_patch(OP, patch, x, "input")
    c = x.shape[1]
    if transposed:
        expected = f"weight of shape ({c}, C_out, 4, 4) for a transposed convolution of {c} channels"
        fits = weight.dim() == 4 and weight.shape[0] == c and tuple(weight.shape[2:]) == (4, 4)
        expect(fits, OP, expected, shape(weight))
        expect(stride == 2, OP, "stride 2 for a transposed convolution", stride)
    else:
        expected = f"weight of shape (C_out, {c}, K, K) with K = 1 or 3 for {c} channels"
        fits = weight.dim() == 4 and weight.shape[1] == c and tuple(weight.shape[2:]) in ((1, 1), (3, 3))
        expect(fits, OP, expected, shape(weight))
        expect(stride in (1, 2), OP, "stride 1 or 2", stride)
        expect(patch % stride == 0, OP, f"a patch that is a multiple of the stride of {stride}", patch)
    expect_like(OP, "weight", weight, x, "input")
    c_out = weight.shape[1 if transposed else 0]
    if bias is not None:
        expect(bias.dim() == 1 and bias.shape[0] == c_out, OP, f"bias of shape ({c_out},)", shape(bias))
        expect_like(OP, "bias", bias, x, "input")
    expect_choice(OP, "padding_mode", padding_mode, PATCH_PADDING_MODES)
    return c_out, patch * 2 if transposed else patch // stride


def check_base(x: Tensor, base: Tensor, c_out: int, patch: int, out_patch: int) -> None:
    size = (x.shape[0], c_out, x.shape[2] // patch * out_patch, x.shape[3] // patch * out_patch)
    expect(tuple(base.shape) == size, OP, f"base of shape {size} as the output has", shape(base))
    expect_like(OP, "base", base, x, "input")


def check_target(x: Tensor, base: Tensor, c_out: int, patch: int, out_patch: int) -> None:
    """A base that is written in place."""
    check_base(x, base, c_out, patch, out_patch)
    expect_written(f"{OP}_", "base", base)


def check_activation(activation: str, activation_weight: Tensor | None, x: Tensor, c_out: int) -> None:
    expect_choice(OP, "activation", activation, ACTIVATIONS)
    has_weight = activation_weight is not None
    right = has_weight == (activation == "prelu")
    expect(right, OP, "an activation_weight with activation 'prelu', and only then", activation)
    if activation_weight is not None:
        right = activation_weight.dim() == 1 and activation_weight.shape[0] in (1, c_out)
        expect(right, OP, f"activation_weight of shape (1,) or ({c_out},)", shape(activation_weight))
        expect_like(OP, "activation_weight", activation_weight, x, "input")


def reach(weight: Tensor, padding_mode: str) -> int:
    """How many pixels around its own a patch reads."""
    return 1 if padding_mode == "image" and weight.shape[2] > 1 else 0


def convolve(tiles: Tensor, weight: Tensor, bias: Tensor | None, halo: int, stride: int, transposed: bool) -> Tensor:
    """Patches with their halo, in; output patches."""
    if transposed:
        out = F.conv_transpose2d(tiles, weight, bias, stride=2, padding=1)
        return F.pad(out, [-2 * halo] * 4)
    return F.conv2d(tiles, weight, bias, stride=stride, padding=weight.shape[2] // 2 - halo)


def mask_of(x: Tensor, indices: Tensor, patch: int) -> Tensor:
    listed = math.used(indices, x.shape[0], x.shape[2] // patch, x.shape[3] // patch)
    return listed[:, None, None, None]


def _patches(
    x: Tensor, weight: Tensor, bias: Tensor | None, indices: Tensor, patch: int, stride: int, transposed: bool,
    padding_mode: str,
) -> Tensor:  # fmt: skip
    """(P, C_out, patch', patch') in the dtype of the sums; 0 for rows that name no patch."""
    wide = accumulator(x)
    halo = reach(weight, padding_mode)
    tiles = math.gather(x.to(wide), indices, patch, halo)
    if tiles.numel() == 0 or weight.numel() == 0:  # no channels: the bias alone
        c_out, side = check(x, weight, bias, indices, patch, stride, transposed, padding_mode)
        out = tiles.new_zeros(indices.shape[0], c_out, side, side)
        out = out if bias is None else out + bias.to(wide)[:, None, None]
    else:
        out = convolve(tiles, weight.to(wide), None if bias is None else bias.to(wide), halo, stride, transposed)
    return torch.where(mask_of(x, indices, patch), out, 0)


def routed_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, indices: Tensor, patch: int, stride: int, transposed: bool,
    padding_mode: str, allow_tf32: bool,
) -> Tensor:  # fmt: skip
    check(x, weight, bias, indices, patch, stride, transposed, padding_mode)
    return as_result(_patches(x, weight, bias, indices, patch, stride, transposed, padding_mode), x)


def routed_conv2d_(
    x: Tensor, weight: Tensor, bias: Tensor | None, indices: Tensor, patch: int, stride: int, transposed: bool,
    padding_mode: str, activation: str, activation_weight: Tensor | None, negative_slope: float, allow_tf32: bool,
    base: Tensor,
) -> None:  # fmt: skip
    c_out, out_patch = check(x, weight, bias, indices, patch, stride, transposed, padding_mode)
    check_target(x, base, c_out, patch, out_patch)
    check_activation(activation, activation_weight, x, c_out)
    out = _patches(x, weight, bias, indices, patch, stride, transposed, padding_mode)
    slopes = None if activation_weight is None else activation_weight.to(out.dtype)
    out = activate(out, activation, slopes, negative_slope).to(base.dtype)
    base.copy_(math.scatter(out, indices, base))


def routed_conv2d_grad(
    grad_out: Tensor, x: Tensor, weight: Tensor, indices: Tensor, patch: int, stride: int, transposed: bool,
    padding_mode: str, allow_tf32: bool, need_x: bool, need_weight: bool, need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Of the output patches `grad_out`; those of rows that name no patch count nothing."""
    wide, halo = accumulator(x), reach(weight, padding_mode)
    grad = torch.where(mask_of(x, indices, patch), grad_out.to(wide), 0)
    tiles = math.gather(x.to(wide), indices, patch, halo)
    grad_bias = grad.sum((0, 2, 3)).to(x.dtype) if need_bias else not_needed(x)
    if tiles.numel() == 0 or grad.numel() == 0:
        grad_tiles, grad_weight = torch.zeros_like(tiles), torch.zeros_like(weight)
    else:
        padding = 1 if transposed else weight.shape[2] // 2 - halo
        grad_tiles, grad_weight, _ = torch.ops.aten.convolution_backward(
            F.pad(grad, [2 * halo] * 4) if transposed else grad,
            tiles, weight.to(wide).contiguous(), None, [stride] * 2, [padding] * 2, [1, 1], transposed, [0, 0], 1,
            [True, True, False],
        )  # fmt: skip
    grad_x = math.gather_adjoint(grad_tiles, indices, x.shape, patch, halo)
    return (
        as_result(grad_x, x) if need_x else not_needed(x),
        as_result(grad_weight, weight) if need_weight else not_needed(weight),
        grad_bias,
    )
