"""The correlation of mmcv.ops."""

from torch import Tensor
from torch.nn import Module

from vfi_kernels import _autocast as autocast
from vfi_kernels._arguments import expect_tensors
from vfi_kernels._overrides import leaf
from vfi_kernels.ops.correlation.op import correlation


class Correlation(Module):
    """`vk.correlation` with normalize=False, in place of mmcv.ops.Correlation.

    Called with two (B, C, H, W) of one shape and dtype it returns (B, D, D, Ho, Wo) with D = 2 max_displacement + 1, in
    their dtype, also inside torch.autocast: the sums over channels and windows of the products, for displacements up to
    max_displacement times dilation_patch. Differences: every dtype, also on the CPU; differentiable twice; errors are
    ArgumentError.
    """

    def __init__(
        self,
        kernel_size: int = 1,
        max_displacement: int = 1,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        dilation_patch: int = 1,
    ):
        super().__init__()
        self.kernel_size = kernel_size
        self.max_displacement = max_displacement
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.dilation_patch = dilation_patch

    @leaf
    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """As the class."""
        expect_tensors("Correlation", input1=input1, input2=input2)
        with autocast.disabled(input1):
            planes = correlation(
                input1, input2, self.max_displacement, kernel_size=self.kernel_size, stride=self.stride,
                padding=self.padding, dilation=self.dilation, patch_dilation=self.dilation_patch, normalize=False,
            )  # fmt: skip
        patches: Tensor = planes.unflatten(1, (2 * self.max_displacement + 1,) * 2)
        return patches

    def __repr__(self) -> str:
        names = ("kernel_size", "max_displacement", "stride", "padding", "dilation", "dilation_patch")
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)}' for name in names)})"
