"""Splatting along trajectories in Triton: the kernels of triton_math, whose flow comes from a path."""

from collections.abc import Sequence

from torch import Tensor

from vfi_kernels._results import accumulator
from vfi_kernels.ops._shared.triton_math.keys_cubic import Path
from vfi_kernels.ops._shared.triton_math.scatter import Landing
from vfi_kernels.ops._shared.triton_math.splatting import FACTORS, splat_along
from vfi_kernels.ops.trajectory_splat import reference

__all__ = ["trajectory_splat"]


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
    """out[b T + t] = the splat of input[b] along flow[b, t]; and D, shift."""
    reference.check(inputs, keyframes, taus, metric, step, boundary, mode, holes)
    acc, size = accumulator(*inputs, keyframes, taus, metric), (inputs[0].shape[2], inputs[0].shape[3])
    path = Path(keyframes, taus, size, (first, step, a, boundary, extrapolate), acc)
    landing = Landing(path, size, acc, FACTORS[mode], metric)
    return splat_along(inputs, landing, mode, holes, keep_weight, deterministic)
