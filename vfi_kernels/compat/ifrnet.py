"""The warp of IFRNet and AMT."""

from torch import Tensor

from vfi_kernels._overrides import overridable
from vfi_kernels.compat._grids import expect_warp
from vfi_kernels.compat._names import any_spelling
from vfi_kernels.compat._warps import Warp, picture

__all__ = ["warp"]


@any_spelling
@overridable
def warp(img: Tensor, flow: Tensor) -> Tensor:
    """`vk.backward_warp` with padding_mode "border", in place of utils.warp(img, flow) of IFRNet and AMT.

    Args:
        img: (B, C, Hi, Wi).
        flow: (B, 2, H, W), in pixels of the flow's own grid: where img has another size, vectors are scaled by
            (Wi - 1) / (W - 1) and (Hi - 1) / (H - 1), and pixels start evenly spread over img. For equal sizes this is
            `compat.rife.warp`.

    Returns:
        (B, C, H, W), dtype of img; float32 inside torch.autocast, as grid_sample.

    Differences: as `compat.rife.warp`.
    """
    expect_warp("ifrnet.warp", img, flow)
    return picture(img, flow, Warp(sizes="flow"))
