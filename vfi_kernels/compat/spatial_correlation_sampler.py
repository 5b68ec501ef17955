"""spatial_correlation_sample and SpatialCorrelationSampler: the names of Pytorch-Correlation-extension."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from vfi_kernels import _autocast as autocast
from vfi_kernels._arguments import expect_tensors
from vfi_kernels._overrides import leaf, overridable
from vfi_kernels.ops._shared.convolution import pair
from vfi_kernels.ops.correlation.op import correlation

__all__ = ["SpatialCorrelationSampler", "spatial_correlation_sample"]

OP = "spatial_correlation_sample"
OnePair = int | Sequence[int]


@overridable
def spatial_correlation_sample(
    input1: Tensor,
    input2: Tensor,
    kernel_size: OnePair = 1,
    patch_size: OnePair = 1,
    stride: OnePair = 1,
    padding: OnePair = 0,
    dilation: OnePair = 1,
    dilation_patch: OnePair = 1,
) -> Tensor:
    """`vk.correlation` with normalize=False, in place of spatial_correlation_sampler.spatial_correlation_sample.

    Args:
        input1, input2: (B, C, H, W) of one shape and dtype.
        kernel_size, stride, padding, dilation: of the windows, as in `vk.correlation`.
        patch_size: how many displacements along y and x, `dilation_patch` pixels apart, around none; of an even number
            the middle is rounded down, as there.

    Returns:
        (B, patch_size, patch_size, Ho, Wo), dtype of input1, also inside torch.autocast: sums over channels and windows
        of the products.

    Differences: runs in every dtype; differentiable twice; errors are ArgumentError.
    """
    expect_tensors(OP, input1=input1, input2=input2)
    counts, steps = pair(OP, "patch_size", patch_size, 1), pair(OP, "dilation_patch", dilation_patch, 1)
    starts = [-(step * (count - 1) // 2) for count, step in zip(counts, steps)]
    # The displacements of an even patch are some of those of a larger one that is symmetric.
    grid = [math.gcd(start, step) for start, step in zip(starts, steps)]
    radius = [
        max(-start, start + (count - 1) * step) // by for start, count, step, by in zip(starts, counts, steps, grid)
    ]
    with autocast.disabled(input1):
        planes = correlation(
            input1, input2, radius, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation,
            patch_dilation=grid, normalize=False,
        )  # fmt: skip
    rows, columns = (
        slice(start // by + r, start // by + r + (count - 1) * (step // by) + 1, step // by)
        for start, by, r, count, step in zip(starts, grid, radius, counts, steps)
    )
    patches: Tensor = planes.unflatten(1, [2 * r + 1 for r in radius])
    return patches[:, rows, columns]


class SpatialCorrelationSampler(nn.Module):
    """spatial_correlation_sample as a module, in place of spatial_correlation_sampler.SpatialCorrelationSampler."""

    def __init__(
        self,
        kernel_size: OnePair = 1,
        patch_size: OnePair = 1,
        stride: OnePair = 1,
        padding: OnePair = 0,
        dilation: OnePair = 1,
        dilation_patch: OnePair = 1,
    ):
        super().__init__()
        self.kernel_size = kernel_size
        self.patch_size = patch_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.dilation_patch = dilation_patch

    @leaf
    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """As spatial_correlation_sample."""
        return spatial_correlation_sample(
            input1, input2, self.kernel_size, self.patch_size, self.stride, self.padding, self.dilation,
            self.dilation_patch,
        )  # fmt: skip
