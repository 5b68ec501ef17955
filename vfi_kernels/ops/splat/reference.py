"""Splatting (forward warping) in plain PyTorch: the specification that the kernels are tested against."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vfi_kernels._arguments import expect, expect_choice, expect_device, expect_image, expect_planes, expect_size, shape
from vfi_kernels._options import HOLES, MODES
from vfi_kernels.ops._shared.reference_math.splatting import (
    WIDE_SPAN,
    mode_of,
    splat_along,
    splat_along_grad,
    weight_result,
)

__all__ = ["WIDE_SPAN", "check", "mode_of", "splat", "splat_grad", "weight_result"]

OP = "splat"


def check(inputs: Sequence[Tensor], flow: Tensor, metric: Tensor | None, mode: str, holes: str) -> None:
    """Raises ArgumentError unless every input is (B, Ci, H, W), flow (B, 2, H, W), metric (B, 1, H, W) or absent."""
    expect_choice(OP, "mode", mode, MODES)
    expect_choice(OP, "holes", holes, HOLES)
    expect(len(inputs) > 0, OP, "at least one image", 0)
    first = inputs[0]
    for x in inputs:
        expect_image(OP, "image", x)
        same = (x.shape[0], *x.shape[2:]) == (first.shape[0], *first.shape[2:])
        expect(same, OP, f"images of one batch size, height and width {shape(first)}", shape(x))
        expect_device(OP, "image", x, first, "the first image")
    expect_planes(OP, "flow", flow, 2, first, "image")
    expect_size(OP, "flow", flow, tuple(first.shape[2:]), "image")
    if mode in ("linear", "softmax"):
        expect(metric is not None, OP, f"a metric of shape (B, 1, H, W) in mode '{mode}'", None)
    else:
        expect(metric is None, OP, f"no metric in mode '{mode}'", "one")
    if metric is not None:
        expect_planes(OP, "metric", metric, 1, first, "image")
        expect_size(OP, "metric", metric, tuple(first.shape[2:]), "image")


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
