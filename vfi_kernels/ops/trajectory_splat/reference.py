"""Splatting along trajectories in plain PyTorch: the specification that the kernels are tested against."""

from torch import Tensor

from vfi_kernels._arguments import expect, expect_choice, expect_device, expect_image, expect_planes, expect_size, shape
from vfi_kernels._options import HOLES, MODES
from vfi_kernels._results import accumulator, as_result, not_needed
from vfi_kernels.ops._shared.reference_math.keys_cubic import Curve, flows, flows_grad
from vfi_kernels.ops._shared.reference_math.splatting import mode_of, splat_along, splat_along_grad, weight_result
from vfi_kernels.ops._shared.trajectories import check_trajectory

__all__ = ["check", "mode_of", "trajectory_splat", "trajectory_splat_grad", "weight_result"]

OP = "trajectory_splat"


def check(
    input: Tensor,
    keyframes: Tensor,
    taus: Tensor,
    metric: Tensor | None,
    step: float,
    boundary: str,
    mode: str,
    holes: str,
) -> None:
    """Raises ArgumentError unless input is (B, C, H, W), keyframes (B, 2 K, h, w), taus (B, T, 1 or H, 1 or W) and
    metric (B, 1, H, W) or absent."""
    expect_choice(OP, "mode", mode, MODES)
    expect_choice(OP, "holes", holes, HOLES)
    expect_image(OP, "image", input)
    check_trajectory(OP, keyframes, taus, tuple(input.shape[2:]), step, boundary)
    same = keyframes.shape[0] == input.shape[0]
    expect(same, OP, f"keyframe_flows with B = {input.shape[0]} as input has", shape(keyframes))
    expect_device(OP, "keyframe_flows", keyframes, input, "image")
    if mode in ("linear", "softmax"):
        expect(metric is not None, OP, f"a metric of shape (B, 1, H, W) in mode '{mode}'", None)
    else:
        expect(metric is None, OP, f"no metric in mode '{mode}'", "one")
    if metric is not None:
        expect_planes(OP, "metric", metric, 1, input, "image")
        expect_size(OP, "metric", metric, tuple(input.shape[2:]), "image")


def trajectory_splat(
    input: Tensor,
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
) -> tuple[Tensor, Tensor, Tensor]:
    """out[b T + t] = the splat of input[b] along flow[b, t]: out (B T, C, H, W), D and shift (B T, 1, H, W)."""
    check(input, keyframes, taus, metric, step, boundary, mode, holes)
    acc = accumulator(input, keyframes, taus, metric)
    curve, size, t = Curve(first, step, a, boundary, extrapolate), (input.shape[2], input.shape[3]), taus.shape[1]
    moved = flows(curve, _pairs(keyframes).to(acc), taus.to(acc), size).flatten(0, 1)
    sources = input.repeat_interleave(t, 0)
    metrics = None if metric is None else metric.repeat_interleave(t, 0)
    (out,), weight, shift = splat_along([sources], moved, metrics, mode, holes, keep_weight)
    return as_result(out, input), weight, shift


def trajectory_splat_grad(
    grad_out: Tensor,
    grad_weight: Tensor | None,
    input: Tensor,
    keyframes: Tensor,
    taus: Tensor,
    metric: Tensor | None,
    out: Tensor,
    weight: Tensor,
    shift: Tensor,
    first: float,
    step: float,
    a: float,
    boundary: str,
    extrapolate: bool,
    mode: str,
    holes: str,
    need_input: bool,
    need_keyframes: bool,
    need_taus: bool,
    need_metric: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Those of splat for every flow; the input's and the metric's are summed over taus, the flow's go on."""
    acc = accumulator(input, keyframes, taus, metric)
    b, t = taus.shape[:2]
    curve, size = Curve(first, step, a, boundary, extrapolate), (input.shape[2], input.shape[3])
    pairs, times = _pairs(keyframes).to(acc), taus.to(acc)
    moved = flows(curve, pairs, times, size)
    sources = input.to(acc).repeat_interleave(t, 0)
    metrics = None if metric is None else metric.to(acc).repeat_interleave(t, 0)
    (grad_sources,), grad_moved, grad_metrics = splat_along_grad(
        [grad_out.to(acc)], grad_weight, [sources], moved.flatten(0, 1), metrics, [out], weight, shift, mode, holes,
        t > 1, True, True, True,
    )  # fmt: skip
    grad_keyframes, grad_taus = flows_grad(grad_moved.view(moved.shape), curve, pairs, times, size, 0, need_taus)
    grad_input = grad_sources.unflatten(0, (b, t)).sum(1)
    grad_metric = not_needed(keyframes)
    if need_metric and metric is not None:
        grad_metric = as_result(grad_metrics.unflatten(0, (b, t)).sum(1), metric)
    return (
        as_result(grad_input, input) if need_input else not_needed(input),
        as_result(grad_keyframes.flatten(1, 2), keyframes) if need_keyframes else not_needed(keyframes),
        as_result(grad_taus, taus) if grad_taus is not None else not_needed(taus),
        grad_metric,
    )


def _pairs(planes: Tensor) -> Tensor:
    return planes.unflatten(1, (planes.shape[1] // 2, 2))
