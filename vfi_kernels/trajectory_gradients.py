"""Gradients of the fused ops along trajectories, of native ops on every backend, one tau at a time.

A tau needs its flow, that flow's gradient and, where these are wanted, one gradient of each argument as scratch memory,
all float32 (float64 if an argument is), so that sums over taus are rounded once.
"""

from typing import Any

import torch
from torch import Tensor

from vfi_kernels.layout import accumulator, as_result, not_needed


class _Sums:
    """Gradients of `tensors` that are wanted, in the dtype acc."""

    def __init__(self, acc: torch.dtype, *tensors: Tensor | None) -> None:
        self.sums = [None if t is None else torch.zeros_like(t, dtype=acc) for t in tensors]

    def add(self, *grads: Tensor) -> None:
        for total, grad in zip(self.sums, grads):
            if total is not None:
                total += grad

    def results(self, *likes: Tensor) -> list[Tensor]:
        return [not_needed(x) if s is None else as_result(s, x) for s, x in zip(self.sums, likes)]


class _Flows:
    """The flow of each tau on the grid of an image, and what its gradient gives keyframes and taus."""

    def __init__(self, keyframes: Tensor, taus: Tensor, size: tuple[int, int], curve: tuple, acc: torch.dtype) -> None:
        self.keyframes, self.taus = keyframes.to(acc), taus
        self.options = (*size, *curve, False)

    def tau(self, t: int) -> Tensor:
        return self.taus[:, t : t + 1]

    def flow(self, t: int) -> Tensor:
        found: Tensor = torch.ops.vfi_kernels.sample_trajectory(self.keyframes, self.tau(t), *self.options)
        return found

    def grads(self, t: int, grad_flow: Tensor, *needs: bool) -> tuple[Tensor, Tensor]:
        grad: Any = torch.ops.vfi_kernels.sample_trajectory_grad
        found: tuple[Tensor, Tensor] = grad(grad_flow, self.keyframes, self.tau(t), *self.options, *needs)
        return found


def _each(stacked: Tensor, taus: Tensor, t: int) -> Tensor:
    """(B T, ...) -> (B, ...): tau t of every sample."""
    return stacked.unflatten(0, taus.shape[:2])[:, t]


def _joined(grads: list[Tensor], taus: Tensor, need: bool) -> Tensor:
    if not need:
        return not_needed(taus)
    return as_result(torch.cat(grads, 1), taus) if grads else torch.zeros_like(taus)


def warp_gradient(
    grad_out: Tensor,
    image: Tensor,
    keyframes: Tensor,
    taus: Tensor,
    first: float,
    step: float,
    a: float,
    boundary: str,
    extrapolate: bool,
    padding: str,
    deterministic: bool,
    need_image: bool,
    need_keyframes: bool,
    need_taus: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """For each tau the gradients of backward_warp, and its flow's on to the keyframes and tau."""
    acc, moves = accumulator(image, keyframes, taus), need_keyframes or need_taus
    x = image.to(acc)
    size = (image.shape[2], image.shape[3])
    flows = _Flows(keyframes, taus, size, (first, step, a, boundary, extrapolate), acc)
    sums = _Sums(acc, image if need_image else None, keyframes if need_keyframes else None)
    grad_taus = []
    for t in range(taus.shape[1]):
        g = _each(grad_out, taus, t).to(acc)
        grad_x, grad_flow = torch.ops.vfi_kernels.backward_warp_grad(
            g, x, flows.flow(t), padding, deterministic, need_image, moves
        )
        grad_keyframes = grad_tau = grad_flow
        if moves:
            grad_keyframes, grad_tau = flows.grads(t, grad_flow, need_keyframes, need_taus)
        sums.add(grad_x, grad_keyframes)
        grad_taus.append(grad_tau)
    grad_image, grad_keyframes = sums.results(image, keyframes)
    return grad_image, grad_keyframes, _joined(grad_taus, taus, need_taus)


def splat_gradient(
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
    eps: str,
    need_input: bool,
    need_keyframes: bool,
    need_taus: bool,
    need_metric: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each tau the gradients of splat, and its flow's on to the keyframes and tau."""
    acc, moves = accumulator(input, keyframes, taus, metric), need_keyframes or need_taus
    need_metric = need_metric and metric is not None
    x, m = input.to(acc), None if metric is None else metric.to(acc)
    size = (input.shape[2], input.shape[3])
    flows = _Flows(keyframes, taus, size, (first, step, a, boundary, extrapolate), acc)
    wanted = (input if need_input else None, keyframes if need_keyframes else None, metric if need_metric else None)
    sums, grad_taus = _Sums(acc, *wanted), []
    for t in range(taus.shape[1]):
        g, result = _each(grad_out, taus, t).to(acc), _each(out, taus, t).to(acc)
        kept = [_each(k, taus, t) if k.dim() == 4 else k for k in (weight, shift)]
        (grad_x,), grad_flow, grad_m = torch.ops.vfi_kernels.splat_grad(
            [g],
            None if grad_weight is None else _each(grad_weight, taus, t),
            [x],
            flows.flow(t),
            m,
            [result],
            *kept,
            mode,
            eps,
            need_input,
            moves,
            need_metric,
        )
        grad_keyframes = grad_tau = grad_flow
        if moves:
            grad_keyframes, grad_tau = flows.grads(t, grad_flow, need_keyframes, need_taus)
        sums.add(grad_x, grad_keyframes, grad_m)
        grad_taus.append(grad_tau)
    grad_input, grad_keyframes, grad_metric = sums.results(input, keyframes, keyframes if metric is None else metric)
    return grad_input, grad_keyframes, _joined(grad_taus, taus, need_taus), grad_metric
