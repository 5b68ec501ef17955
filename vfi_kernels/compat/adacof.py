"""The names of AdaCoF, which CDFI, ST-MFNet and CSVFI took over: FunctionAdaCoF."""

from torch import Tensor

from vfi_kernels._overrides import overridable
from vfi_kernels.compat._grids import as_under_autocast
from vfi_kernels.ops.adacof.op import adacof

__all__ = ["FunctionAdaCoF"]


@overridable
def _adacof(input: Tensor, weight: Tensor, offset_i: Tensor, offset_j: Tensor, dilation: int) -> Tensor:
    image = as_under_autocast(input) if isinstance(input, Tensor) else input
    return adacof(image, weight, offset_i, offset_j, dilation=dilation)


class FunctionAdaCoF:
    """`vk.adacof` in place of the autograd function FunctionAdaCoF of AdaCoF, and of its copies."""

    @staticmethod
    def apply(input: Tensor, weight: Tensor, offset_i: Tensor, offset_j: Tensor, dilation: int) -> Tensor:
        """`vk.adacof(input, weight, offset_i, offset_j, dilation=dilation)`.

        Args:
            input: (B, C, H + dilation (F - 1), W + dilation (F - 1)), padded by the caller.
            weight: (B, F F, H, W).
            offset_i, offset_j: (B, F F, H, W), down and to the right, in pixels.
            dilation: pixels between taps.

        Returns:
            (B, C, H, W), dtype of input; float32 inside torch.autocast.

        Differences: runs on the CPU; no CuPy; any dtype; differentiable twice. A tap whose offsets are not finite adds
        nothing. Errors are ArgumentError.
        """
        return _adacof(input, weight, offset_i, offset_j, dilation)
