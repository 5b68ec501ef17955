"""The names of SepConv, which CDFI, DAIN's successors and others took over: FunctionSepconv, ModuleSepconv,
sepconv_func."""

from torch import Tensor, nn

from vfi_kernels._overrides import leaf, overridable
from vfi_kernels.compat._grids import as_under_autocast
from vfi_kernels.compat._names import any_spelling
from vfi_kernels.ops.sepconv.op import sepconv

__all__ = ["FunctionSepconv", "ModuleSepconv", "sepconv_func"]


@any_spelling
@overridable
def FunctionSepconv(tenInput: Tensor, tenVertical: Tensor, tenHorizontal: Tensor) -> Tensor:
    """`vk.sepconv` in place of sepconv.FunctionSepconv(tenInput, tenVertical, tenHorizontal).

    Args:
        tenInput: (B, C, H + Fv - 1, W + Fh - 1), padded by the caller.
        tenVertical: (B, Fv, H, W).
        tenHorizontal: (B, Fh, H, W).

    Returns:
        (B, C, H, W), dtype of tenInput; float32 inside torch.autocast.

    Differences: runs on the CPU; no CuPy; any dtype; any numbers of taps, which need not be equal; differentiable
    twice. Errors are ArgumentError.
    """
    image = as_under_autocast(tenInput) if isinstance(tenInput, Tensor) else tenInput
    return sepconv(image, tenVertical, tenHorizontal)


class ModuleSepconv(nn.Module):
    """FunctionSepconv as a module, in place of sepconv.ModuleSepconv()."""

    @any_spelling
    @leaf
    def forward(self, tenInput: Tensor, tenVertical: Tensor, tenHorizontal: Tensor) -> Tensor:
        """As FunctionSepconv."""
        return FunctionSepconv(tenInput, tenVertical, tenHorizontal)


class sepconv_func:
    """In place of the autograd function sepconv_func: `apply(tenInput, tenVertical, tenHorizontal)`."""

    @staticmethod
    def apply(tenInput: Tensor, tenVertical: Tensor, tenHorizontal: Tensor) -> Tensor:
        """As FunctionSepconv."""
        return FunctionSepconv(tenInput, tenVertical, tenHorizontal)
