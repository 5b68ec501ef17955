"""What modules on active patches share: their list of patches, and the base that is kept elsewhere."""

import torch
from torch import Tensor

from vfi_kernels._arguments import (
    dtype_name,
    expect,
    expect_bool,
    expect_image,
    expect_tensors,
    expect_tensors_or_none,
    expect_written,
    shape,
)
from vfi_kernels._autograd import refuse_gradient
from vfi_kernels.ops._shared.reference_math.patches import check_indices, check_patch
from vfi_kernels.ops.patches.op import patch_indices


def as_indices(op: str, selection: Tensor, x: Tensor, patch: int) -> Tensor:
    """A list of patches of `x`, also of a route map."""
    expect_tensors(op, indices=selection)
    expect_image(op, "input", x)
    if selection.dim() != 3 and selection.dtype != torch.bool:
        check_indices(op, selection, x, "input")
        return selection
    check_patch(op, patch, x, "input")
    size = (x.shape[0], x.shape[2] // patch, x.shape[3] // patch)
    expect(selection.dtype == torch.bool, op, "a route of dtype bool", dtype_name(selection))
    if shape(selection) != size:
        expect(False, op, f"a route of shape (B, H / patch, W / patch) = {size}", shape(selection))
    listed = patch_indices(selection)
    assert isinstance(listed, Tensor)
    return listed


def expect_base(op: str, base: Tensor | None, inplace: bool) -> None:
    expect_bool(op, "inplace", inplace)
    (expect_tensors if inplace else expect_tensors_or_none)(op, base=base)


def fitting(op: str, base: Tensor, size: tuple[int, ...], result: Tensor, x: Tensor) -> Tensor:
    """`base`, which has the result's shape, and its dtype or, where autocast gave that another one, the input's."""
    if shape(base) != size:
        expect(False, op, f"base of shape {size} as the output has", shape(base))
    name = " or ".join(dict.fromkeys(map(dtype_name, (x, result))))
    got = dtype_name(base)
    expect(base.dtype in (x.dtype, result.dtype), op, f"base of dtype {name} as x and the output have", got)
    return base


def keep(op: str, result: Tensor, x: Tensor, base: Tensor | None, inplace: bool) -> Tensor:
    """The result of the dense layer, all of whose patches are active, where it belongs."""
    if base is None:
        return result
    fitting(op, base, shape(result), result, x)
    if not inplace:
        return result.to(base.dtype)
    refuse_gradient(op, "inplace=False", result, base)
    expect_written(op, "base", base)
    return base.copy_(result)
