"""Splatting (forward warping) in plain PyTorch: the specification that the kernels are tested against."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vfi_kernels._arguments import expect_choice, expect_planes, expect_size
from vfi_kernels._options import HOLES, MODES
from vfi_kernels.ops._shared.reference_math.splatting import (
    WIDE_SPAN,
    check_images,
    check_metric,
    images_of,
    mode_of,
    splat_along,
    splat_along_grad,
    weight_result,
)

__all__ = ["WIDE_SPAN", "check", "images_of", "mode_of", "splat", "splat_grad", "weight_result"]

OP = "splat"


def check(inputs: Sequence[Tensor], flow: Tensor, metric: Tensor | None, mode: str, holes: str) -> None:
    """Raises ArgumentError unless every input is (B, Ci, H, W), flow (B, 2, H, W), metric (B, 1, H, W) or absent."""
    expect_choice(OP, "mode", mode, MODES)
    expect_choice(OP, "holes", holes, HOLES)
    first = check_images(OP, inputs)
    expect_planes(OP, "flow", flow, 2, first, "image")
    expect_size(OP, "flow", flow, tuple(first.shape[2:]), "image")
    check_metric(OP, mode, metric, first)


def splat(
    inputs: Sequence[Tensor],
    flow: Tensor,
    metric: Tensor | None,
    mode: str,
    holes: str,
    keep_weight: bool,
    deterministic: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """N[t] = sum over sources of w e x, D[t] = sum of w e; out = N, or N / D by the rule of holes: outs, D, shift."""
    check(inputs, flow, metric, mode, holes)
    return splat_along(inputs, flow, metric, mode, holes, keep_weight)


def splat_grad(*arguments: Any) -> tuple[list[Tensor], Tensor, Tensor]:
    """Gradients of inputs, flow and metric: see `splat_along_grad`, which takes the same arguments as the op."""
    return splat_along_grad(*arguments)
