"""Backward warping along trajectories in plain PyTorch: the specification that the kernels are tested against."""

from torch import Tensor

from vfi_kernels._arguments import expect, expect_choice, expect_device, expect_image, shape
from vfi_kernels._options import PADDING_MODES
from vfi_kernels._results import accumulator, as_result, not_needed
from vfi_kernels.ops._shared.reference_math.bilinear import corners, flow_term, gather, scatter_add
from vfi_kernels.ops._shared.reference_math.keys_cubic import Curve, flows, flows_grad
from vfi_kernels.ops._shared.trajectories import check_trajectory

OP = "trajectory_warp"


def check(image: Tensor, keyframes: Tensor, taus: Tensor, step: float, boundary: str, padding_mode: str) -> None:
    """Raises ArgumentError unless image is (B, C, H, W), keyframes (B, 2 K, h, w) and taus (B, T, 1 or H, 1 or W)."""
    expect_image(OP, "image", image)
    check_trajectory(OP, keyframes, taus, tuple(image.shape[2:]), step, boundary)
    same = keyframes.shape[0] == image.shape[0]
    expect(same, OP, f"keyframe_flows with B = {image.shape[0]} as image has", shape(keyframes))
    expect_device(OP, "keyframe_flows", keyframes, image, "image")
    expect_choice(OP, "padding_mode", padding_mode, PADDING_MODES)


def trajectory_warp(
    image: Tensor,
    keyframes: Tensor,
    taus: Tensor,
    first: float,
    step: float,
    a: float,
    boundary: str,
    extrapolate: bool,
    padding_mode: str,
) -> Tensor:
    """out[b T + t, c] = image[b, c] at (x, y) + flow[b, t]: (B T, C, H, W)."""
    check(image, keyframes, taus, step, boundary, padding_mode)
    acc = accumulator(image, keyframes, taus)
    curve, size = Curve(first, step, a, boundary, extrapolate), (image.shape[2], image.shape[3])
    moved = flows(curve, _pairs(keyframes).to(acc), taus.to(acc), size).flatten(0, 1)
    source = image.repeat_interleave(taus.shape[1], 0)
    out = source.new_zeros(source.shape, dtype=acc)
    if out.numel() > 0:
        for corner in corners(moved, size, padding_mode):
            out = out + corner.sampled(gather(source, corner).to(acc))
    return as_result(out, image)


def trajectory_warp_grad(
    grad_out: Tensor,
    image: Tensor,
    keyframes: Tensor,
    taus: Tensor,
    first: float,
    step: float,
    a: float,
    boundary: str,
    extrapolate: bool,
    padding_mode: str,
    deterministic: bool,
    need_image: bool,
    need_keyframes: bool,
    need_taus: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Those of backward_warp for every flow; the image's are summed over taus, the flow's go on."""
    acc = accumulator(image, keyframes, taus)
    b, t = taus.shape[:2]
    curve, size = Curve(first, step, a, boundary, extrapolate), (image.shape[2], image.shape[3])
    pairs, times = _pairs(keyframes).to(acc), taus.to(acc)
    moved = flows(curve, pairs, times, size)
    source, g = image.repeat_interleave(t, 0), grad_out.to(acc)
    grad_source = source.new_zeros(source.shape, dtype=acc)
    grad_moved = moved.new_zeros((b * t, 2, *size))
    if grad_moved.numel() > 0:
        for corner in corners(moved.flatten(0, 1), size, padding_mode):
            if need_image:
                grad_source = scatter_add(grad_source, corner, corner.term(corner.weight, g))
            grad_moved = grad_moved + flow_term(corner, gather(source, corner).to(acc), g)
    grad_keyframes, grad_taus = flows_grad(grad_moved.view(moved.shape), curve, pairs, times, size, 0, need_taus)
    grad_image = grad_source.view(b, t, *image.shape[1:]).sum(1)
    return (
        as_result(grad_image, image) if need_image else not_needed(image),
        as_result(grad_keyframes.flatten(1, 2), keyframes) if need_keyframes else not_needed(keyframes),
        as_result(grad_taus, taus) if grad_taus is not None else not_needed(taus),
    )


def _pairs(planes: Tensor) -> Tensor:
    pairs: Tensor = planes.unflatten(1, (planes.shape[1] // 2, 2))
    return pairs
