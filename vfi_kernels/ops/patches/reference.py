"""Gathering and scattering patches in plain PyTorch: the specification that the kernels are tested against."""

import torch
from torch import Tensor

from vfi_kernels._arguments import dtype_name, expect, expect_image, expect_like, expect_written, shape
from vfi_kernels._results import accumulator, as_result, memory_format, not_needed
from vfi_kernels.ops._shared.reference_math import patches as math


def check_route(route: Tensor, capacity: int | None) -> None:
    op = "patch_indices"
    expect(route.dim() == 3, op, "route of shape (B, rows, columns)", shape(route))
    expect(route.dtype == torch.bool, op, "route of dtype bool", dtype_name(route))
    has_values = capacity is not None or route.device.type != "meta"
    expect(has_values, op, "a capacity for a route on the meta device, where nobody knows how many are active", None)
    if capacity is not None:
        expect(capacity >= 0, op, "capacity of at least 0", capacity)


def check_gather(x: Tensor, indices: Tensor, patch: int, halo: int) -> None:
    op = "patch_gather"
    expect_image(op, "input", x)
    math.check_indices(op, indices, x, "input")
    math.check_patch(op, patch, x, "input")
    expect(halo >= 0, op, "halo of at least 0", halo)


def check_scatter(patches: Tensor, indices: Tensor, base: Tensor) -> None:
    op = "patch_scatter"
    expect_image(op, "base", base)
    square = patches.dim() == 4 and patches.shape[1] == base.shape[1] and patches.shape[2] == patches.shape[3]
    expected = f"patches of shape (P, {base.shape[1]}, patch, patch) for a base of {base.shape[1]} channels"
    expect(square, op, expected, shape(patches))
    expect_like(op, "patches", patches, base, "base")
    math.check_indices(op, indices, base, "base")
    math.check_patch(op, patches.shape[2], base, "base")
    listed, patch_count = indices.shape[0], patches.shape[0]
    expect(listed == patch_count, op, f"indices of shape ({patch_count}, 3) for {patch_count} patches", shape(indices))


def check_scatter_(patches: Tensor, indices: Tensor, base: Tensor) -> None:
    check_scatter(patches, indices, base)
    expect_written("patch_scatter_", "base", base)


def patch_indices(route: Tensor, capacity: int | None = None) -> tuple[Tensor, Tensor]:
    check_route(route, capacity)
    count = route.sum(dtype=torch.int64)
    active = route.nonzero().int()
    if capacity is None:
        return active, count
    kept = active[:capacity]
    return torch.cat([kept, kept.new_full((capacity - kept.shape[0], 3), -1)]), count


def patch_gather(x: Tensor, indices: Tensor, patch: int, halo: int, channels_last: bool | None) -> Tensor:
    check_gather(x, indices, patch, halo)
    return math.gather(x, indices, patch, halo).contiguous(memory_format=order_of(x, channels_last))


def patch_gather_grad(
    grad_out: Tensor, indices: Tensor, size: list[int], patch: int, halo: int, channels_last: bool
) -> Tensor:
    """Every pixel of x gets the sum over the patches that hold it."""
    grad = math.gather_adjoint(grad_out.to(accumulator(grad_out)), indices, size, patch, halo)
    return grad.to(grad_out.dtype).contiguous(memory_format=order(channels_last))


def patch_scatter(patches: Tensor, indices: Tensor, base: Tensor) -> Tensor:
    check_scatter(patches, indices, base)
    return as_result(math.scatter(patches, indices, base), base)


def patch_scatter_(patches: Tensor, indices: Tensor, base: Tensor) -> None:
    check_scatter_(patches, indices, base)
    base.copy_(math.scatter(patches, indices, base))


def patch_scatter_grad(
    grad_out: Tensor, indices: Tensor, patch: int, channels_last: bool, need_patches: bool, need_base: bool
) -> tuple[Tensor, Tensor]:
    """The patches get what lies at their places, `base` the rest."""
    grad_patches, grad_base = not_needed(grad_out), not_needed(grad_out)
    if need_patches:
        grad_patches = math.gather(grad_out, indices, patch, 0).contiguous(memory_format=order(channels_last))
    if need_base:
        nothing = grad_out.new_zeros(indices.shape[0], grad_out.shape[1], patch, patch)
        grad_base = as_result(math.scatter(nothing, indices, grad_out), grad_out)
    return grad_patches, grad_base


def order_of(x: Tensor, channels_last: bool | None) -> torch.memory_format:
    return memory_format(x) if channels_last is None else order(channels_last)


def order(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format
