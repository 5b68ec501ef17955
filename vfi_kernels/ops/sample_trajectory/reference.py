"""Flows along trajectories in plain PyTorch: the specification that the kernels are tested against."""

from torch import Tensor

from vfi_kernels._arguments import expect, shape
from vfi_kernels._results import accumulator, as_result, not_needed
from vfi_kernels.ops._shared.reference_math.keys_cubic import Curve, flows, flows_grad
from vfi_kernels.ops._shared.trajectories import check_trajectory

OP = "sample_trajectory"


def check(keyframes: Tensor, taus: Tensor, height: int, width: int, step: float, boundary: str) -> None:
    expect(height >= 0 and width >= 0, OP, "a height and width that are not negative", (height, width))
    check_trajectory(OP, keyframes, taus, (height, width), step, boundary)


def sample_trajectory(
    keyframes: Tensor,
    taus: Tensor,
    height: int,
    width: int,
    first: float,
    step: float,
    a: float,
    boundary: str,
    extrapolate: bool,
    derivative: bool,
) -> Tensor:
    """flows[b, t] = sum_k weight_k(taus[b, t]) keyframes[b, k], resized: (B, 2 K, h, w) -> (B, 2 T, height, width)."""
    check(keyframes, taus, height, width, step, boundary)
    acc = accumulator(keyframes, taus)
    curve = Curve(first, step, a, boundary, extrapolate)
    sampled = flows(curve, _pairs(keyframes).to(acc), taus.to(acc), (height, width), int(derivative))
    return as_result(sampled.flatten(1, 2), keyframes)


def sample_trajectory_grad(
    grad_out: Tensor,
    keyframes: Tensor,
    taus: Tensor,
    height: int,
    width: int,
    first: float,
    step: float,
    a: float,
    boundary: str,
    extrapolate: bool,
    derivative: bool,
    need_keyframes: bool,
    need_taus: bool,
) -> tuple[Tensor, Tensor]:
    """grad_keyframes[b, k] = sum_t weight_k grad_out[b, t], resized back; grad_taus = sum grad_out d flow / d tau."""
    expected = (keyframes.shape[0], 2 * taus.shape[1], height, width)
    expect(shape(grad_out) == expected, OP, f"grad_out of shape {expected}", shape(grad_out))
    acc = accumulator(keyframes, taus)
    curve = Curve(first, step, a, boundary, extrapolate)
    grad_keyframes, grad_taus = flows_grad(
        _pairs(grad_out).to(acc), curve, _pairs(keyframes).to(acc), taus.to(acc), (height, width), int(derivative),
        need_taus,
    )  # fmt: skip
    return (
        as_result(grad_keyframes.flatten(1, 2), keyframes) if need_keyframes else not_needed(keyframes),
        as_result(grad_taus, taus) if grad_taus is not None else not_needed(taus),
    )


def _pairs(planes: Tensor) -> Tensor:
    pairs: Tensor = planes.unflatten(1, (planes.shape[1] // 2, 2))
    return pairs
