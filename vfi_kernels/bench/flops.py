"""How many floating-point operations an op needs at least, by its definition: a product and a sum count one each.

What is done once per pixel for all channels (positions, weights, exp) is not counted, nor is what a kernel does twice.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from vfi_kernels.testing import tensors

SAMPLE = 8  # four corners
CUBIC = 16  # two components, four keyframes


def backward_warp(image: Tensor, flow: Tensor) -> int:
    return SAMPLE * image.shape[1] * flow[:, :1].numel()


def warp_blend(frame0: Tensor, frame1: Tensor, flow: Tensor, mask_logits: Tensor) -> int:
    return (2 * SAMPLE + 3) * frame0.shape[1] * mask_logits.numel()


def splat(inputs: Any, flow: Tensor, *others: Tensor) -> int:
    """All channels and the weight."""
    return SAMPLE * sum(t.shape[1] + 1 for t in tensors(inputs)) * flow[:, :1].numel()


def correlation(first: Tensor, second: Tensor) -> int:
    """Radius 4."""
    return 2 * 81 * first.numel()


def mixture_lora(x: Tensor, weight: Tensor, bias: Tensor, a: Tensor, *others: Tensor) -> int:
    """The layer, and two adapters of their rank."""
    out, width = weight.shape[2:]
    return 2 * (out * width + 2 * a.shape[2] * (out + width)) * x[..., :1].numel()


def modulated_deform_conv2d(input: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> int:
    """The samples of all taps, times the mask, and the product with the weights."""
    taps, pixels = weight.shape[2] * weight.shape[3], offset[:, :1].numel()
    return ((SAMPLE + 1) * taps * input.shape[1] + 2 * weight.numel()) * pixels


def sample_trajectory(keyframes: Tensor, taus: Tensor) -> int:
    return CUBIC * taus.shape[1] * keyframes[:, :1].numel()


def trajectory_warp(image: Tensor, keyframes: Tensor, taus: Tensor) -> int:
    return (CUBIC + SAMPLE * image.shape[1]) * taus.shape[1] * image[:, :1].numel()


def trajectory_splat(input: Tensor, keyframes: Tensor, taus: Tensor, metric: Tensor | None = None) -> int:
    return (CUBIC + SAMPLE * (input.shape[1] + 1)) * taus.shape[1] * input[:, :1].numel()


def routed_conv2d(x: Tensor, weight: Tensor) -> int:
    """Stride 1, half of the patches."""
    return weight.numel() * x[:, :1].numel()


FLOPS: dict[str, Callable[..., int]] = {
    function.__name__: function
    for function in (
        backward_warp,
        correlation,
        mixture_lora,
        modulated_deform_conv2d,
        routed_conv2d,
        sample_trajectory,
        splat,
        trajectory_splat,
        trajectory_warp,
        warp_blend,
    )
}
