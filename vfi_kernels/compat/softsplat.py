"""softsplat, softsplat_func, backwarp and FunctionCorrelation: the names of softmax-splatting, M2M and GMFSS."""

from typing import Literal, overload

import torch
from torch import Tensor

from vfi_kernels import _autocast as autocast
from vfi_kernels._arguments import expect_bool, expect_tensors, expect_tensors_or_none
from vfi_kernels._options import Holes, Mode
from vfi_kernels._overrides import overridable
from vfi_kernels._results import accumulator
from vfi_kernels.compat._grids import as_under_autocast, expect_warp
from vfi_kernels.compat._names import any_names_of_two, any_spelling
from vfi_kernels.compat._warps import Warp, picture
from vfi_kernels.ops.correlation.op import correlation
from vfi_kernels.ops.splat.op import splat

__all__ = ["FunctionCorrelation", "backwarp", "softsplat", "softsplat_func"]

MODES: dict[str, Mode] = {"sum": "sum", "avg": "average", "linear": "linear", "soft": "softmax"}
GIMM: dict[str, Mode] = {**MODES, "softmax": "softmax"}  # of GIMM-VFI, which has return_norm
EPS: dict[str, Holes] = {"addeps": "add", "zeroeps": "zero", "clipeps": "clip"}
EPSILON = 1e-7
LARGEST_METRIC = 80.0  # exp of it, times an image and a few thousand contributors, is a float32


@overload
def softsplat(
    tenIn: Tensor, tenFlow: Tensor, tenMetric: Tensor | None, strMode: str, return_norm: Literal[False] = False
) -> Tensor: ...
@overload
def softsplat(
    tenIn: Tensor, tenFlow: Tensor, tenMetric: Tensor | None, strMode: str, return_norm: bool
) -> Tensor | tuple[Tensor, Tensor]: ...
@any_spelling
@overridable
def softsplat(
    tenIn: Tensor, tenFlow: Tensor, tenMetric: Tensor | None, strMode: str, return_norm: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """`vk.splat` in place of softsplat.softsplat(tenIn, tenFlow, tenMetric, strMode) of softmax-splatting, and of the
    same function in M2M, GMFSS (which imports it as `warp`), GIMM-VFI and others.

    Args:
        tenIn: (B, C, H, W).
        tenFlow: (B, 2, H, W), in pixels.
        tenMetric: (B, 1, H, W) for "linear" and "soft", None for "sum" and "avg".
        strMode: "sum", "avg", "linear" or "soft" (with return_norm also "softmax"); the last three optionally with
            -addeps (the default: the weight plus 1e-7 divides), -zeroeps (the weight divides, 0 in holes) or -clipeps
            (the weight, at least 1e-7).
        return_norm: as in GIMM-VFI, not to divide: the sums and what would divide them are returned; in mode "sum",
            where nothing divides, the sums.

    Keywords may be spelled as in other releases (tenInput, tensorFlow, ...).

    Returns:
        (B, C, H, W), dtype of tenIn; float32 inside torch.autocast. With return_norm two, the second one (B, 1, H, W).

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
    modes = GIMM if return_norm is True else MODES
    known = ", ".join(modes)
    expect_bool("softsplat", "return_norm", return_norm)
    assert name in modes and (suffix in EPS or (not suffix and "-" not in strMode)) and (name != "sum" or not suffix), (
        f"softsplat: expected strMode {known}, optionally (not sum) with -{', -'.join(EPS)}, got '{strMode}'"
    )
    weighted = modes[name] in ("linear", "softmax")
    assert (tenMetric is not None) == weighted, (
        f"softsplat: expected {'a tenMetric' if weighted else 'tenMetric None'} in mode '{strMode}', "
        f"got {'None' if tenMetric is None else 'one'}"
    )
    if return_norm and name != "sum":
        return undivided(as_under_autocast(tenIn), tenFlow, tenMetric, modes[name], EPS.get(suffix, "add"))
    mode, holes, metric = MODES[name], EPS.get(suffix, "add"), tenMetric
    if mode == "softmax" and holes != "zero" and tenMetric is not None:
        # 1e-7 is added to the sum of exp(metric) itself: mode linear of that.
        mode, metric = "linear", tenMetric.to(accumulator(tenMetric)).clamp(max=LARGEST_METRIC).exp()
    return splat(as_under_autocast(tenIn), tenFlow, metric, mode=mode, holes="zero" if mode == "sum" else holes)


def undivided(
    tenIn: Tensor, tenFlow: Tensor, tenMetric: Tensor | None, mode: Mode, holes: Holes
) -> tuple[Tensor, Tensor]:
    """The sums of weighted pixels, and of their weights as they would divide them."""
    image = tenIn.to(accumulator(tenIn))
    weight = torch.ones_like(image[:, :1])
    if tenMetric is not None:
        metric = tenMetric.to(image.dtype)
        weight = metric.clamp(max=LARGEST_METRIC).exp() if mode == "softmax" else metric
        skipped = ~metric.isfinite()
        weight, image = weight.masked_fill(skipped, 0), image.masked_fill(skipped, 0)
    sums = splat(torch.cat((image * weight, weight), 1), tenFlow, mode="sum")
    norm = sums[:, -1:]
    if holes == "zero":
        norm = torch.where(norm == 0, 1, norm)
    else:
        norm = norm + EPSILON if holes == "add" else norm.clamp(min=EPSILON)
    return sums[:, :-1].to(tenIn.dtype), norm.to(tenIn.dtype)


class softsplat_func:
    """In place of the autograd function softsplat_func, which M2M and others call directly: `apply(tenIn, tenFlow)`."""

    @staticmethod
    def apply(tenIn: Tensor, tenFlow: Tensor) -> Tensor:
        """softsplat in mode "sum": (B, C, H, W) and (B, 2, H, W) in pixels -> (B, C, H, W)."""
        return softsplat(tenIn, tenFlow, None, "sum")


@any_spelling
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


@any_names_of_two
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
