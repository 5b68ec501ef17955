"""Patches of an image as torch ops: which are active, reading them, writing them back."""

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels._arguments import expect, expect_apart, expect_bool, expect_integer, expect_tensors
from vfi_kernels._autograd import (
    refuse_forward_mode,
    refuse_gradient,
    register_differentiable,
    register_fake,
    register_in_place,
    register_looped_vmap,
    register_second_derivative,
)
from vfi_kernels._overrides import overridable
from vfi_kernels._results import memory_format, not_needed
from vfi_kernels._tracing import makes_onnx
from vfi_kernels._types import Arguments, Context, Gradients, Op, Ops
from vfi_kernels.ops.patches import reference

_patch_indices: Ops = torch.ops.vfi_kernels.patch_indices.default
_patch_gather: Op = torch.ops.vfi_kernels.patch_gather.default
_patch_gather_grad: Op = torch.ops.vfi_kernels.patch_gather_grad.default
_patch_scatter: Op = torch.ops.vfi_kernels.patch_scatter.default
_patch_scatter_: Op = torch.ops.vfi_kernels.patch_scatter_.default
_patch_scatter_grad: Ops = torch.ops.vfi_kernels.patch_scatter_grad.default


@overload
def patch_indices(
    route: Tensor, *, capacity: int | None = None, return_count: Literal[False] = False, out: Tensor | None = None
) -> Tensor: ...
@overload
def patch_indices(
    route: Tensor, *, capacity: int | None = None, return_count: Literal[True], out: Tensor | None = None
) -> tuple[Tensor, Tensor]: ...
@overridable
def patch_indices(
    route: Tensor, *, capacity: int | None = None, return_count: bool = False, out: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """The list of active patches of a route map, for the other ops on patches.

    Args:
        route: (B, rows, columns) bool, one cell for each patch of the image; True where it is active.
        capacity: how many rows the list has. Without it as many as there are active patches: a shape that depends on
            data, for which a GPU makes the host wait. With it nothing waits, and the call can be part of a CUDA graph:
            unused rows are -1 and ignored by every op; of more active patches the first `capacity` are kept.
        return_count: also return how many patches are active, whatever the capacity.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (P, 3) or (capacity, 3) int32, a row (b, row, column) for each active patch, sorted; with return_count also the
        count, an int64 tensor of shape () on the device of `route`. Not differentiable.

    Raises:
        ArgumentError: if a shape, dtype or the capacity is not one of the above.
    """
    expect_tensors("patch_indices", route=route)
    if route.layout != torch.strided:
        expect(False, "patch_indices", "a dense tensor for route", f"one of layout {route.layout}")
    expect_bool("patch_indices", "return_count", return_count)
    if capacity is not None:
        expect_integer("patch_indices", "capacity", capacity, 0)
    indices, count = _patch_indices(route, capacity)
    return (indices, count) if return_count else indices


@overridable
def patch_gather(
    input: Tensor,
    indices: Tensor,
    patch: int,
    *,
    halo: int = 0,
    memory_format: torch.memory_format = torch.preserve_format,
    out: Tensor | None = None,
) -> Tensor:
    """Reads the listed patches of an image, each with `halo` more pixels on every side.

    out[k, c, i, j] = input[b, c, row patch - halo + i, column patch - halo + j] for (b, row, column) = indices[k], and
    0 outside input.

    Args:
        input: (B, C, H, W), float64, float32, float16 or bfloat16; any strides; H and W are multiples of `patch`.
        indices: (P, 3) int32 on the device of `input`, a row (b, row, column) for each patch, as from `patch_indices`;
            no row twice. A row that names no patch of input, as the -1 that fill a list, gives zeros.
        patch: pixels along each side of a patch.
        halo: pixels around it.
        memory_format: of the result; torch.preserve_format is that of `input`.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (P, C, patch + 2 halo, patch + 2 halo), dtype of `input`. Differentiable twice in `input`; pixels in several
        halos get the sum, in float32 or wider and in a fixed order.

    Raises:
        ArgumentError: if a shape, dtype, device or size is not one of the above.
    """
    op = "patch_gather"
    expect_tensors(op, input=input, indices=indices)
    expect_integer(op, "patch", patch, 1)
    expect_integer(op, "halo", halo, 0)
    refuse_forward_mode(op, input)
    return _patch_gather(input, indices, patch, halo, wants_channels_last(op, memory_format))


@overridable
def patch_scatter(patches: Tensor, indices: Tensor, base: Tensor, *, out: Tensor | None = None) -> Tensor:
    """An image with the listed patches overwritten: the reverse of `patch_gather` without a halo.

    Args:
        patches: (P, C, patch, patch), dtype and device of `base`; any strides.
        indices: (P, 3) int32, a row (b, row, column) for each patch, as from `patch_indices`; no row twice. A patch
            whose row names no patch of `base` is ignored.
        base: (B, C, H, W), float64, float32, float16 or bfloat16; any strides; H and W are multiples of `patch`. It is
            not changed; `patch_scatter_` writes into it.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (B, C, H, W), dtype and memory format of `base`. Differentiable twice in `patches` and `base`, whose gradient is
        0 in the overwritten patches.

    Raises:
        ArgumentError: if a shape, dtype, device or size is not one of the above.
    """
    op = "patch_scatter"
    expect_tensors(op, patches=patches, indices=indices, base=base)
    refuse_forward_mode(op, patches, base)
    return _patch_scatter(patches, indices, base)


@overridable
def patch_scatter_(patches: Tensor, indices: Tensor, base: Tensor) -> Tensor:
    """`patch_scatter` into `base` itself, which is returned: no copy of it is made, and there is no gradient.

    Raises:
        ArgumentError: as patch_scatter; if elements of `base` share memory with each other or with another argument;
            and if autograd records and `patches` or `base` requires a gradient.
    """
    op = "patch_scatter_"
    expect_tensors(op, patches=patches, indices=indices, base=base)
    refuse_gradient(op, "patch_scatter", patches, base)
    expect_apart(op, base, patches=patches, indices=indices)
    if makes_onnx():
        return base.copy_(_patch_scatter(patches, indices, base))
    _patch_scatter_(patches, indices, base)
    return base


def wants_channels_last(op: str, wanted: torch.memory_format) -> bool | None:
    """What a memory format says of a result; None: as its owner."""
    formats = (torch.preserve_format, torch.contiguous_format, torch.channels_last)
    expect(wanted in formats, op, "memory_format preserve_format, contiguous_format or channels_last", wanted)
    return None if wanted == torch.preserve_format else wanted == torch.channels_last


@register_fake("patch_indices")
def _(route: Tensor, capacity: int | None = None) -> tuple[Tensor, ...]:
    reference.check_route(route, capacity)
    rows = torch.library.get_ctx().new_dynamic_size() if capacity is None else capacity
    return route.new_empty((rows, 3), dtype=torch.int32), route.new_empty((), dtype=torch.int64)


@register_fake("patch_gather")
def _(x: Tensor, indices: Tensor, patch: int, halo: int, channels_last: bool | None) -> Tensor:
    reference.check_gather(x, indices, patch, halo)
    side = patch + 2 * halo
    last = memory_format(x) == torch.channels_last if channels_last is None else channels_last
    return _fresh(x, (indices.shape[0], x.shape[1], side, side), last)


@register_fake("patch_gather_grad")
def _(grad_out: Tensor, indices: Tensor, size: Sequence[int], patch: int, halo: int, channels_last: bool) -> Tensor:
    return _fresh(grad_out, size, channels_last)


@register_fake("patch_scatter")
def _(patches: Tensor, indices: Tensor, base: Tensor) -> Tensor:
    reference.check_scatter(patches, indices, base)
    return _fresh(base, base.shape, memory_format(base) == torch.channels_last)


@register_fake("patch_scatter_")
def _(patches: Tensor, indices: Tensor, base: Tensor) -> None:
    reference.check_scatter_(patches, indices, base)


@register_fake("patch_scatter_grad")
def _(
    grad_out: Tensor, indices: Tensor, patch: int, channels_last: bool, need_patches: bool, need_base: bool
) -> tuple[Tensor, ...]:
    size = indices.shape[0], grad_out.shape[1], patch, patch
    return (
        _fresh(grad_out, size, channels_last) if need_patches else not_needed(grad_out),
        _fresh(grad_out, grad_out.shape, memory_format(grad_out) == torch.channels_last)
        if need_base
        else not_needed(grad_out),
    )


def _fresh(like: Tensor, size: Sequence[int], channels_last: bool) -> Tensor:
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=reference.order(channels_last))


def _setup_gather(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    x, indices, ctx.patch, ctx.halo, _ = inputs
    ctx.size, ctx.channels_last = x.shape, memory_format(x) == torch.channels_last
    ctx.save_for_backward(indices)


def _gather_backward(ctx: Context, grad_out: Tensor) -> Gradients:
    refuse_forward_mode("patch_gather", grad_out)
    (indices,) = ctx.saved_tensors
    grad = _patch_gather_grad(grad_out, indices, ctx.size, ctx.patch, ctx.halo, ctx.channels_last)
    return grad, None, None, None, None


def _setup_scatter(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    patches, indices, base = inputs
    ctx.patch = patches.shape[2]
    # By its strides: a list of unknown length cannot say whether it is dense.
    by_pixel = patches.stride(1) == 1 and patches.stride(3) != 1
    ctx.layouts = by_pixel, memory_format(base)
    ctx.save_for_backward(indices)


def _scatter_backward(ctx: Context, grad_out: Tensor) -> Gradients:
    refuse_forward_mode("patch_scatter", grad_out)
    (indices,) = ctx.saved_tensors
    channels_last, layout = ctx.layouts
    need_patches, _, need_base = ctx.needs_input_grad
    grad_out = grad_out.contiguous(memory_format=layout)
    grad_patches, grad_base = _patch_scatter_grad(grad_out, indices, ctx.patch, channels_last, need_patches, need_base)
    return grad_patches if need_patches else None, None, grad_base if need_base else None


register_differentiable("patch_gather", _setup_gather, _gather_backward, register_looped_vmap)
register_differentiable("patch_scatter", _setup_scatter, _scatter_backward, register_looped_vmap)
register_second_derivative("patch_gather_grad", reference.patch_gather_grad, register_looped_vmap)
register_second_derivative("patch_scatter_grad", reference.patch_scatter_grad, register_looped_vmap)
register_looped_vmap("patch_indices")
register_in_place("patch_scatter_", "patch_scatter")
for name in ("indices", "gather", "gather_grad", "scatter", "scatter_", "scatter_grad"):
    backends.implement(f"patch_{name}", getattr(reference, f"patch_{name}"))
