"""softsplat, softsplat_func, backwarp and FunctionCorrelation: the names of softmax-splatting, M2M and GMFSS."""

from torch import Tensor

from vfi_kernels import _autocast as autocast
from vfi_kernels._arguments import expect_tensors, expect_tensors_or_none
from vfi_kernels._options import Holes, Mode
from vfi_kernels._overrides import overridable
from vfi_kernels._results import accumulator
from vfi_kernels.compat._grids import as_under_autocast, expect_warp
from vfi_kernels.compat._warps import Warp, picture
from vfi_kernels.ops.correlation.op import correlation
from vfi_kernels.ops.splat.op import splat

__all__ = ["FunctionCorrelation", "backwarp", "softsplat", "softsplat_func"]

MODES: dict[str, Mode] = {"sum": "sum", "avg": "average", "linear": "linear", "soft": "softmax"}
EPS: dict[str, Holes] = {"addeps": "add", "zeroeps": "zero", "clipeps": "clip"}
LARGEST_METRIC = 80.0  # exp of it, times an image and a few thousand contributors, is a float32


@overridable
def softsplat(tenIn: Tensor, tenFlow: Tensor, tenMetric: Tensor | None, strMode: str) -> Tensor:
    """`vk.splat` in place of softsplat.softsplat(tenIn, tenFlow, tenMetric, strMode) of softmax-splatting, and of the
    same function in M2M, GMFSS (which imports it as `warp`) and others.

    Args:
        tenIn: (B, C, H, W).
        tenFlow: (B, 2, H, W), in pixels.
        tenMetric: (B, 1, H, W) for "linear" and "soft", None for "sum" and "avg".
        strMode: "sum", "avg", "linear" or "soft"; the last three optionally with -addeps (the default: the weight plus
            1e-7 divides), -zeroeps (the weight divides, 0 in holes) or -clipeps (the weight, at least 1e-7).

    Returns:
        (B, C, H, W), dtype of tenIn; float32 inside torch.autocast.

    Raises:
        AssertionError: as there, if strMode is none of these, or tenMetric does not go with it.
        ArgumentError: if a shape, dtype or device is not one of the above.

    Differences: runs on the CPU; no CuPy. "soft" uses the sum of exp(metric) itself, as there, so that trained weights
    see the same arithmetic, but a metric above 80 counts as 80 (theirs is NaN from 89 on); "soft-zeroeps" subtracts the
    largest metric first and loses no pixel at any metric. A metric that is not finite skips its pixel. avg-addeps,
    avg-zeroeps and avg-clipeps, which lose a channel there, do what their names say. `vk.splat` has no 1e-7.
    """
    expect_tensors("softsplat", tenIn=tenIn, tenFlow=tenFlow)
    expect_tensors_or_none("softsplat", tenMetric=tenMetric)
    name, _, suffix = str(strMode).partition("-")
    known = ", ".join(MODES)
    assert name in MODES and (suffix in EPS or (not suffix and "-" not in strMode)) and (name != "sum" or not suffix), (
        f"softsplat: expected strMode {known}, optionally (not sum) with -{', -'.join(EPS)}, got '{strMode}'"
    )
    weighted = name in ("linear", "soft")
    assert (tenMetric is not None) == weighted, (
        f"softsplat: expected {'a tenMetric' if weighted else 'tenMetric None'} in mode '{strMode}', "
        f"got {'None' if tenMetric is None else 'one'}"
    )
    mode, holes, metric = MODES[name], EPS.get(suffix, "add"), tenMetric
    if mode == "softmax" and holes != "zero" and tenMetric is not None:
        # 1e-7 is added to the sum of exp(metric) itself: mode linear of that.
        mode, metric = "linear", tenMetric.to(accumulator(tenMetric)).clamp(max=LARGEST_METRIC).exp()
    return splat(as_under_autocast(tenIn), tenFlow, metric, mode=mode, holes="zero" if mode == "sum" else holes)


class softsplat_func:
    """In place of the autograd function softsplat_func, which M2M and others call directly: `apply(tenIn, tenFlow)`."""

    @staticmethod
    def apply(tenIn: Tensor, tenFlow: Tensor) -> Tensor:
        """softsplat in mode "sum": (B, C, H, W) and (B, 2, H, W) in pixels -> (B, C, H, W)."""
        return softsplat(tenIn, tenFlow, None, "sum")


@overridable
def backwarp(tenIn: Tensor, tenFlow: Tensor) -> Tensor:
    """`vk.backward_warp` with padding_mode "zeros", in place of backwarp(tenIn, tenFlow) of softmax-splatting.

    Args:
        tenIn: (B, C, Hi, Wi).
        tenFlow: (B, 2, H, W), in pixels of tenIn; of another size its pixels start evenly spread over tenIn.

    Returns:
        (B, C, H, W), dtype of tenIn; float32 inside torch.autocast, as grid_sample.

    Differences: as `compat.rife.warp`; a flow that is not finite gives 0.
    """
    expect_warp("softsplat.backwarp", tenIn, tenFlow)
    return picture(tenIn, tenFlow, Warp(outside="zeros", sizes="image"))


@overridable
def FunctionCorrelation(tenOne: Tensor, tenTwo: Tensor) -> Tensor:
    """`vk.correlation` with radius 4, in place of correlation.FunctionCorrelation(tenOne, tenTwo) of softmax-splatting.

    Args:
        tenOne, tenTwo: (B, C, H, W) of one shape and dtype.

    Returns:
        (B, 81, H, W), dtype of tenOne, also inside torch.autocast: for each displacement the mean over channels of the
        products.

    Differences: runs on the CPU; no CuPy; differentiable twice. Errors are ArgumentError.
    """
    expect_tensors("FunctionCorrelation", tenOne=tenOne, tenTwo=tenTwo)
    with autocast.disabled(tenOne):
        return correlation(tenOne, tenTwo)
