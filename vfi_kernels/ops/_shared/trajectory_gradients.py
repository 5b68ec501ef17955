"""Gradients of the fused ops along trajectories, of native ops on every backend, one tau at a time.

A tau needs its flow and, where these are wanted, one gradient of each argument as scratch memory, and a few taus at a
time the gradients of their flows. Sums over taus are float32 (float64 if an argument is).
Options are numbers, as the ops take them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vfi_kernels._results import accumulator, as_result, not_needed
from vfi_kernels._types import Ops

GROUP = 4  # taus whose flows' gradients go on to the keyframes together: these are read and written once for all


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

    def __init__(
        self,
        keyframes: Tensor,
        taus: Tensor,
        size: tuple[int, int],
        curve: tuple[float, float, float, int, bool],
        acc: torch.dtype,
        needs: tuple[bool, bool],
    ) -> None:
        self.keyframes, self.taus, self.needs = keyframes.to(acc), taus, needs
        self.options = (*size, *curve, False)
        self.sums = _Sums(acc, keyframes if needs[0] else None)
        self.pending: list[Tensor] = []  # gradients of the last taus' flows
        self.grad_taus: list[Tensor] = []

    def flow(self, t: int) -> Tensor:
        at_time: Tensor = torch.ops.vfi_kernels.sample_trajectory(
            self.keyframes, self.taus[:, t : t + 1], *self.options
        )
        return at_time

    def add_grad(self, t: int, grad_flow: Tensor) -> None:
        """Takes the gradient of flow t; taus come in order."""
        if not any(self.needs):
            return
        self.pending.append(grad_flow)
        if len(self.pending) < GROUP and t + 1 < self.taus.shape[1]:
            return
        taus = self.taus[:, t + 1 - len(self.pending) : t + 1]
        grad: Ops = torch.ops.vfi_kernels.sample_trajectory_grad
        grad_keyframes, grad_taus = grad(torch.cat(self.pending, 1), self.keyframes, taus, *self.options, *self.needs)
        self.sums.add(grad_keyframes)
        self.grad_taus.append(grad_taus)
        self.pending.clear()

    def results(self, keyframes: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of keyframes and taus."""
        (grad_keyframes,) = self.sums.results(keyframes)
        if not self.needs[1]:
            return grad_keyframes, not_needed(self.taus)
        if not self.grad_taus:
            return grad_keyframes, torch.zeros_like(self.taus)
        return grad_keyframes, as_result(torch.cat(self.grad_taus, 1), self.taus)


def _each(stacked: Tensor, taus: Tensor, t: int) -> Tensor:
    """(B T, ...) -> (B, ...): tau t of every sample."""
    part: Tensor = stacked.unflatten(0, taus.shape[:2])[:, t]
    return part


def warp_gradient(
    grad_out: Tensor,
    image: Tensor,
    keyframes: Tensor,
    taus: Tensor,
    first: float,
    step: float,
    a: float,
    boundary: int,
    extrapolate: bool,
    padding_mode: int,
    deterministic: bool,
    need_image: bool,
    need_keyframes: bool,
    need_taus: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """For each tau the gradients of backward_warp, and its flow's on to the keyframes and tau."""
    acc, needs = accumulator(image, keyframes, taus), (need_keyframes, need_taus)
    x, size = image.to(acc), (image.shape[2], image.shape[3])
    flows = _Flows(keyframes, taus, size, (first, step, a, boundary, extrapolate), acc, needs)
    sums = _Sums(acc, image if need_image else None)
    for t in range(taus.shape[1]):
        g = _each(grad_out, taus, t).to(acc)
        grad_x, grad_flow = torch.ops.vfi_kernels.backward_warp_grad(
            g, x, flows.flow(t), padding_mode, deterministic, need_image, any(needs)
        )
        sums.add(grad_x)
        flows.add_grad(t, grad_flow)
    (grad_image,) = sums.results(image)
    return grad_image, *flows.results(keyframes)


def splat_gradient(
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
    boundary: int,
    extrapolate: bool,
    mode: int,
    holes: int,
    need_inputs: bool,
    need_keyframes: bool,
    need_taus: bool,
    need_metric: bool,
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """For each tau the gradients of splat, and its flow's on to the keyframes and tau. Inputs keep their dtypes: what
    splat's gradient counts as rounding depends on how `outs` were rounded."""
    acc, needs = accumulator(*inputs, keyframes, taus, metric), (need_keyframes, need_taus)
    need_metric = need_metric and metric is not None
    m = None if metric is None else metric.to(acc)
    size = (inputs[0].shape[2], inputs[0].shape[3])
    flows = _Flows(keyframes, taus, size, (first, step, a, boundary, extrapolate), acc, needs)
    sums = _Sums(acc, *(x if need_inputs else None for x in inputs), metric if need_metric else None)
    for t in range(taus.shape[1]):
        gs, results = ([_each(x, taus, t) for x in each] for each in (grad_outs, outs))
        kept = [_each(k, taus, t) if k.dim() == 4 else k for k in (weight, shift)]
        grad_d = None if grad_weight is None else _each(grad_weight, taus, t)
        grads, grad_flow, grad_m = torch.ops.vfi_kernels.splat_grad(
            gs,
            grad_d,
            inputs,
            flows.flow(t),
            m,
            results,
            *kept,
            mode,
            holes,
            taus.shape[1] > 1,
            need_inputs,
            any(needs),
            need_metric,
        )
        sums.add(*grads, grad_m)
        flows.add_grad(t, grad_flow)
    *grad_inputs, grad_metric = sums.results(*inputs, keyframes if metric is None else metric)
    return grad_inputs, *flows.results(keyframes), grad_metric
