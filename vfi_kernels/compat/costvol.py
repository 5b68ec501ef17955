"""costvol and costvol_func: the names of the cost volumes of M2M and BiM-VFI."""

from torch import Tensor

from vfi_kernels import _autocast as autocast
from vfi_kernels._arguments import expect, expect_integer, expect_tensors
from vfi_kernels._overrides import overridable
from vfi_kernels.compat._grids import as_under_autocast
from vfi_kernels.compat._names import any_names_of_two
from vfi_kernels.ops.correlation.op import correlation

__all__ = ["costvol", "costvol_func"]


@any_names_of_two
@overridable
def costvol(tenOne: Tensor, tenTwo: Tensor) -> Tensor:
    """`vk.correlation` with cost="l1" and radius 4, in place of costvol_func.apply(tenOne, tenTwo) of M2M.

    Args:
        tenOne, tenTwo: (B, C, H, W) of one shape and dtype.

    Returns:
        (B, 81, H, W), dtype of tenOne; float32 inside torch.autocast: for each displacement the mean over channels of
        the absolute differences, where tenTwo ends of tenOne alone.

    Differences: runs on the CPU; no CuPy; keywords may be any two. Errors are ArgumentError.
    """
    return volume(tenOne, tenTwo, None)


class costvol_func:
    """In place of the autograd functions costvol_func: `apply(tenOne, tenTwo)` of M2M, as costvol; and
    `apply(tenOne, tenTwo, intKernelSize)` of BiM-VFI."""

    @staticmethod
    def apply(tenOne: Tensor, tenTwo: Tensor, intKernelSize: int | None = None) -> Tensor:
        """intKernelSize: displacements a side, odd: (B, intKernelSize^2, H, W), sums over channels of the products."""
        return volume(tenOne, tenTwo, intKernelSize)


@overridable
def volume(tenOne: Tensor, tenTwo: Tensor, intKernelSize: int | None) -> Tensor:
    """Either."""
    expect_tensors("costvol", tenOne=tenOne, tenTwo=tenTwo)
    one, two = as_under_autocast(tenOne), as_under_autocast(tenTwo)
    with autocast.disabled(one):
        if intKernelSize is None:
            return correlation(one, two, cost="l1")
        expect_integer("costvol", "intKernelSize", intKernelSize, 1)
        expect(intKernelSize % 2 == 1, "costvol", "intKernelSize to be odd", intKernelSize)
        return correlation(one, two, intKernelSize // 2, normalize=False)
