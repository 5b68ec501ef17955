"""Splatting (forward warping) in plain PyTorch: the specification that the kernels are tested against."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vfi_kernels.checks import expect, expect_choice, expect_device, expect_image, expect_planes, expect_size, shape
from vfi_kernels.options import EPS_RULES, MODES
from vfi_kernels.reference_math.splatting import WIDE_SPAN, default_mode, splat_along, splat_along_grad

__all__ = ["WIDE_SPAN", "check", "default_mode", "splat", "splat_grad"]

OP = "splat"


def check(inputs: Sequence[Tensor], flow: Tensor, metric: Tensor | None, mode: str, eps: str) -> None:
    """Raises RuntimeError unless every input is (B, Ci, H, W), flow (B, 2, H, W), metric (B, 1, H, W) or absent."""
    expect_choice(OP, "mode", mode, MODES)
    expect_choice(OP, "eps", eps, EPS_RULES)
    expect(len(inputs) > 0, OP, "at least one input", 0)
    first = inputs[0]
    for x in inputs:
        expect_image(OP, "input", x)
        same = (x.shape[0], *x.shape[2:]) == (first.shape[0], *first.shape[2:])
        expect(same, OP, f"inputs of one batch size, height and width {shape(first)}", shape(x))
        expect_device(OP, "input", x, first, "the first input")
    expect_planes(OP, "flow", flow, 2, first, "input")
    expect_size(OP, "flow", flow, tuple(first.shape[2:]), "input")
    if mode in ("linear", "softmax"):
        expect(metric is not None, OP, f"a metric of shape (B, 1, H, W) in mode '{mode}'", None)
    else:
        expect(metric is None, OP, f"no metric in mode '{mode}'", "one")
    if metric is not None:
        expect_planes(OP, "metric", metric, 1, first, "input")
        expect_size(OP, "metric", metric, tuple(first.shape[2:]), "input")


def splat(
    inputs: Sequence[Tensor],
    flow: Tensor,
    metric: Tensor | None,
    mode: str,
    eps: str,
    keep_weight: bool,
    deterministic: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """N[t] = sum over sources of w e x, D[t] = sum of w e; out = N, or N / D by the eps rule: outs, D, shift."""
    check(inputs, flow, metric, mode, eps)
    return splat_along(inputs, flow, metric, mode, eps, keep_weight)


def splat_grad(*arguments: Any) -> tuple[list[Tensor], Tensor, Tensor]:
    """Gradients of inputs, flow and metric: see `splat_along_grad`, which takes the same arguments as the op."""
    return splat_along_grad(*arguments)
