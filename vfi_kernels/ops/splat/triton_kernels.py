"""Splatting (forward warping) in Triton. The gradient op is in triton_grad.py."""

from collections.abc import Sequence

from torch import Tensor

from vfi_kernels._results import accumulator
from vfi_kernels.ops._shared.triton_math.scatter import Landing
from vfi_kernels.ops._shared.triton_math.splatting import FACTORS, splat_along
from vfi_kernels.ops.splat import reference
from vfi_kernels.ops.splat.triton_grad import splat_grad

__all__ = ["splat", "splat_grad"]


def splat(
    inputs: Sequence[Tensor],
    flow: Tensor,
    metric: Tensor | None,
    mode: str,
    holes: str,
    keep_weight: bool,
    deterministic: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """N[t] = sum over sources of w e x, D[t] = sum of w e; out = N or N / D by the rule of holes. Returns outs, D,
    shift."""
    reference.check(inputs, flow, metric, mode, holes)
    landing = Landing(flow, flow.shape[2:], accumulator(*inputs, flow, metric), FACTORS[mode], metric)
    return splat_along(inputs, landing, mode, holes, keep_weight, deterministic)
