"""The warp of RIFE, Practical-RIFE and vs-rife."""

from torch import Tensor

from vfi_kernels._arguments import ArgumentError
from vfi_kernels._overrides import overridable
from vfi_kernels.compat._grids import expect_warp
from vfi_kernels.compat._names import any_spelling
from vfi_kernels.compat._warps import Warp, picture

__all__ = ["warp"]


@any_spelling
@overridable
def warp(
    tenInput: Tensor, tenFlow: Tensor, tenFlow_div: object = None, backwarp_tenGrid: Tensor | None = None
) -> Tensor:
    """`vk.backward_warp` with padding_mode "border", in place of model.warplayer.warp(tenInput, tenFlow) of
    ECCV2022-RIFE and Practical-RIFE, of warp(tenInput, tenFlow, tenFlow_div, backwarp_tenGrid) of vs-rife, and of their
    copies.

    Args:
        tenInput: (B, C, Hi, Wi).
        tenFlow: (B, 2, H, W), in pixels of tenInput. Where it is smaller or larger than tenInput its pixels start
            evenly spread over tenInput, the corners on the corners.
        tenFlow_div, backwarp_tenGrid: vs-rife's divisors and grid for that size. What they hold is not read: positions
            are computed, not stored. A grid of another size than tenFlow is refused.

    Returns:
        (B, C, H, W), dtype of tenInput; float32 inside torch.autocast, as grid_sample.

    Differences: positions are exact to the rounding of the flow, whatever dtype it has (theirs go through a grid in
    [-1, 1]); no grid is cached; tenInput and tenFlow may have different dtypes; an image of height or width 1 gives its
    pixel instead of NaN. What is not finite: docs/conventions.md. Errors are ArgumentError.
    """
    expect_warp("rife.warp", tenInput, tenFlow)
    if backwarp_tenGrid is not None and backwarp_tenGrid.shape[2:] != tenFlow.shape[2:]:
        sizes = f"{tuple(tenFlow.shape[2:])}, got {tuple(backwarp_tenGrid.shape[2:])}"
        raise ArgumentError(f"rife.warp: expected backwarp_tenGrid of tenFlow's height and width {sizes}")
    return picture(tenInput, tenFlow, Warp(sizes="image"))
