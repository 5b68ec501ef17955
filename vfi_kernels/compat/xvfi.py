"""The masked warp of XVFI."""

from torch import Tensor

from vfi_kernels._arguments import expect_size
from vfi_kernels._overrides import overridable
from vfi_kernels.compat._grids import expect_warp
from vfi_kernels.compat._names import any_spelling
from vfi_kernels.compat._warps import Mask, Warp, picture

__all__ = ["bwarp"]

COVERED = 0.999  # XVFI's threshold


@any_spelling
@overridable
def bwarp(x: Tensor, flo: Tensor, withmask: bool = True) -> Tensor:
    """`vk.backward_warp` with padding_mode "zeros", times its validity, in place of bwarp(x, flo) of XVFI and of the
    networks that took it over (a method there: `compat.patch` drops the `self`).

    Args:
        x: (B, C, H, W).
        flo: (B, 2, H, W), in pixels.
        withmask: set to 0 the pixels whose bilinear weights inside x add up to less than 0.999.

    Returns:
        (B, C, H, W), dtype of x; float32 inside torch.autocast, as grid_sample.

    Differences: positions are exact to the rounding of the flow; the mask is one plane, computed, not sampled from an
    image of ones. A flow that is not finite gives 0. Errors are ArgumentError.
    """
    expect_warp("xvfi.bwarp", x, flo)
    expect_size("xvfi.bwarp", "flo", flo, tuple(x.shape[2:]), "x")
    return picture(x, flo, Warp(outside="zeros", mask=Mask(COVERED) if withmask else None))
