"""The names of EBME and UPR-Net, those of the first release of softmax-splatting: FunctionSoftsplat, ModuleSoftsplat,
FunctionCorrelation, ModuleCorrelation and backwarp."""

from torch import Tensor, nn

from vfi_kernels._overrides import leaf, overridable
from vfi_kernels.compat import softsplat
from vfi_kernels.compat._names import any_names_of_two, any_spelling

__all__ = ["FunctionCorrelation", "FunctionSoftsplat", "ModuleCorrelation", "ModuleSoftsplat", "backwarp"]

MODES = {"summation": "sum", "average": "avg-zeroeps", "linear": "linear-zeroeps", "softmax": "soft-zeroeps"}


@any_spelling
@overridable
def FunctionSoftsplat(tenInput: Tensor, tenFlow: Tensor, tenMetric: Tensor | None, strType: str) -> Tensor:
    """`vk.splat` in place of softsplat.FunctionSoftsplat(tenInput, tenFlow, tenMetric, strType) of EBME and UPR-Net.

    Args:
        tenInput: (B, C, H, W).
        tenFlow: (B, 2, H, W), in pixels.
        tenMetric: (B, 1, H, W) for "linear" and "softmax"; for "summation" and "average" it is ignored, as there.
        strType: "summation", "average", "linear" or "softmax". Holes are 0 and nothing is added to weights.

    Returns:
        (B, C, H, W), dtype of tenInput; float32 inside torch.autocast.

    Raises:
        AssertionError: as there, if strType is none of these, or tenMetric has more than one channel or is missing.
        ArgumentError: if a shape, dtype or device is not one of the above.

    Differences: runs on the CPU; no CuPy; "softmax" subtracts the largest metric first, so that it neither overflows
    nor loses pixels. A metric that is not finite skips its pixel.
    """
    assert strType in MODES, f"FunctionSoftsplat: expected strType {', '.join(MODES)}, got '{strType}'"
    assert tenMetric is None or tenMetric.shape[1] == 1, (
        f"FunctionSoftsplat: expected a tenMetric of shape (B, 1, H, W), got {tuple(tenMetric.shape)}"
    )
    metric = tenMetric if strType in ("linear", "softmax") else None
    return softsplat.softsplat(tenInput, tenFlow, metric, MODES[strType])


class ModuleSoftsplat(nn.Module):
    """FunctionSoftsplat as a module, in place of softsplat.ModuleSoftsplat(strType) of EBME and UPR-Net."""

    def __init__(self, strType: str):
        super().__init__()
        self.strType = strType

    @any_spelling
    @leaf
    def forward(self, tenInput: Tensor, tenFlow: Tensor, tenMetric: Tensor | None) -> Tensor:
        """As FunctionSoftsplat."""
        return FunctionSoftsplat(tenInput, tenFlow, tenMetric, self.strType)


@any_names_of_two
def FunctionCorrelation(tenFirst: Tensor, tenSecond: Tensor) -> Tensor:
    """`vk.correlation` with radius 4, in place of correlation.FunctionCorrelation(tenFirst, tenSecond) of EBME and of
    PWC-Net in PyTorch: (B, C, H, W) twice -> (B, 81, H, W); as `compat.softsplat.FunctionCorrelation`."""
    return softsplat.FunctionCorrelation(tenFirst, tenSecond)


class ModuleCorrelation(nn.Module):
    """FunctionCorrelation as a module, in place of correlation.ModuleCorrelation(); keywords may be any two."""

    @any_names_of_two
    @leaf
    def forward(self, tenFirst: Tensor, tenSecond: Tensor) -> Tensor:
        """As FunctionCorrelation."""
        return FunctionCorrelation(tenFirst, tenSecond)


@any_spelling
def backwarp(tenInput: Tensor, tenFlow: Tensor) -> Tensor:
    """`vk.backward_warp` with padding_mode "zeros", in place of backwarp(tenInput, tenFlow), as
    `softsplat.backwarp`."""
    return softsplat.backwarp(tenInput, tenFlow)
