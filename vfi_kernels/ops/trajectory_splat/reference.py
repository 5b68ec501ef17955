"""Splatting along trajectories in plain PyTorch: the specification that the kernels are tested against."""

from collections.abc import Sequence

from torch import Tensor

from vfi_kernels._arguments import expect, expect_choice, expect_device, shape
from vfi_kernels._options import HOLES, MODES
from vfi_kernels._results import accumulator, as_result, not_needed
from vfi_kernels.ops._shared.reference_math.keys_cubic import Curve, flows, flows_grad
from vfi_kernels.ops._shared.reference_math.splatting import (
    check_images,
    check_metric,
    images_of,
    mode_of,
    splat_along,
    splat_along_grad,
    weight_result,
)
from vfi_kernels.ops._shared.trajectories import check_trajectory

__all__ = [
    "check",
    "check_images",
    "images_of",
    "mode_of",
    "trajectory_splat",
    "trajectory_splat_grad",
    "weight_result",
]

OP = "trajectory_splat"


def check(
    inputs: Sequence[Tensor],
    keyframes: Tensor,
    taus: Tensor,
    metric: Tensor | None,
    step: float,
    boundary: str,
    mode: str,
    holes: str,
) -> None:
    """Raises ArgumentError unless every input is (B, C, H, W), keyframes (B, 2 K, h, w), taus (B, T, 1 or H, 1 or W)
    and metric (B, 1, H, W) or absent."""
    expect_choice(OP, "mode", mode, MODES)
    expect_choice(OP, "holes", holes, HOLES)
    input = check_images(OP, inputs)
    check_trajectory(OP, keyframes, taus, tuple(input.shape[2:]), step, boundary)
    same = keyframes.shape[0] == input.shape[0]
    expect(same, OP, f"keyframe_flows with B = {input.shape[0]} as image has", shape(keyframes))
    expect_device(OP, "keyframe_flows", keyframes, input, "image")
    check_metric(OP, mode, metric, input)


def trajectory_splat(
    inputs: Sequence[Tensor],
    keyframes: Tensor,
    taus: Tensor,
    metric: Tensor | None,
    first: float,
    step: float,
    a: float,
    boundary: str,
    extrapolate: bool,
    mode: str,
    holes: str,
    keep_weight: bool,
    deterministic: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """out[b T + t] = the splat of input[b] along flow[b, t]: outs (B T, C, H, W), D and shift (B T, 1, H, W)."""
    check(inputs, keyframes, taus, metric, step, boundary, mode, holes)
    acc, size, t = accumulator(*inputs, keyframes, taus, metric), _size(inputs), taus.shape[1]
    curve = Curve(first, step, a, boundary, extrapolate)
    moved = flows(curve, _pairs(keyframes).to(acc), taus.to(acc), size).flatten(0, 1)
    sources = [x.repeat_interleave(t, 0) for x in inputs]
    metrics = None if metric is None else metric.repeat_interleave(t, 0)
    outs, weight, shift = splat_along(sources, moved, metrics, mode, holes, keep_weight)
    return [as_result(out, x) for out, x in zip(outs, inputs)], weight, shift


def trajectory_splat_grad(
    grad_outs: Sequence[Tensor],
    grad_weight: Tensor | None,
    inputs: Sequence[Tensor],
    keyframes: Tensor,
    taus: Tensor,
    metric: Tensor | None,
    outs: Sequence[Tensor],
    weight: Tensor,
    shift: Tensor,
    first: float,
    step: float,
    a: float,
    boundary: str,
    extrapolate: bool,
    mode: str,
    holes: str,
    need_inputs: bool,
    need_keyframes: bool,
    need_taus: bool,
    need_metric: bool,
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Those of splat for every flow; the inputs' and the metric's are summed over taus, the flow's go on."""
    acc, size = accumulator(*inputs, keyframes, taus, metric), _size(inputs)
    b, t = taus.shape[:2]
    curve = Curve(first, step, a, boundary, extrapolate)
    pairs, times = _pairs(keyframes).to(acc), taus.to(acc)
    moved = flows(curve, pairs, times, size)
    sources = [x.to(acc).repeat_interleave(t, 0) for x in inputs]
    metrics = None if metric is None else metric.to(acc).repeat_interleave(t, 0)
    grad_sources, grad_moved, grad_metrics = splat_along_grad(
        [g.to(acc) for g in grad_outs], grad_weight, sources, moved.flatten(0, 1), metrics, outs, weight, shift, mode,
        holes, t > 1, True, True, True,
    )  # fmt: skip
    grad_keyframes, grad_taus = flows_grad(grad_moved.view(moved.shape), curve, pairs, times, size, 0, need_taus)
    grad_inputs = [g.unflatten(0, (b, t)).sum(1) for g in grad_sources]
    grad_metric = not_needed(keyframes)
    if need_metric and metric is not None:
        grad_metric = as_result(grad_metrics.unflatten(0, (b, t)).sum(1), metric)
    return (
        [as_result(g, x) if need_inputs else not_needed(x) for g, x in zip(grad_inputs, inputs)],
        as_result(grad_keyframes.flatten(1, 2), keyframes) if need_keyframes else not_needed(keyframes),
        as_result(grad_taus, taus) if grad_taus is not None else not_needed(taus),
        grad_metric,
    )


def _size(inputs: Sequence[Tensor]) -> tuple[int, int]:
    return inputs[0].shape[2], inputs[0].shape[3]


def _pairs(planes: Tensor) -> Tensor:
    pairs: Tensor = planes.unflatten(1, (planes.shape[1] // 2, 2))
    return pairs
