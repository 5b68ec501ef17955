"""Functions around kernels, and what others write in plain torch: which function of ours computes the same."""

import re

import torch
from torch import Tensor

from vfi_kernels._types import Arguments, Function, Options
from vfi_kernels.compat import _kernels, _trials
from vfi_kernels.compat._kernels import NOT_IMPLEMENTED, SAME, Ours, with_options
from vfi_kernels.compat._warp_trials import Differs

NAMED = re.compile(r"splat|correlation|cost_?vol|deform_?conv|sepconv|adacof", re.IGNORECASE)
PLACEHOLDERS = {  # functions that are not implemented, by name and parameters
    ("softsplat", ("tenIn", "tenFlow", "tenMetric", "strMode")): "compat.softsplat.softsplat",
    ("softsplat", ("tenInput", "tenFlow", "tenMetric", "strMode")): "compat.softsplat.softsplat",
    ("FunctionSoftsplat", ("tenInput", "tenFlow", "tenMetric", "strType")): "compat.ebme.FunctionSoftsplat",
    ("FunctionCorrelation", ("tenFirst", "tenSecond")): "compat.ebme.FunctionCorrelation",
    ("FunctionCorrelation", ("tenOne", "tenTwo")): "compat.softsplat.FunctionCorrelation",
}
# Of a cost volume, besides its radius.
COSTS: tuple[Options, ...] = (
    {}, {"normalize": False}, {"cost": "l1"}, {"normalize": False, "cost": "l1"}, {"patch_dilation": 2},
)  # fmt: skip


def plan_for(function: Function, name: str) -> Ours:
    """What a function that is called `name` computes. Differs if it is nothing of ours."""
    names = tuple(_kernels.parameters_of(function))
    if _kernels.is_not_implemented(function):
        by = PLACEHOLDERS.get((function.__name__, names))
        if by is None:
            raise Differs("it is not implemented there")
        return Ours(by, NOT_IMPLEMENTED)
    failed: Differs | None = None
    for known in _kernels.KERNELS:
        arguments = [known.arguments(again) for again in (False, True)]
        if re.search(known.pattern, name, re.IGNORECASE) and len(names) == len(arguments[0]):
            by = "compat.ebme.FunctionCorrelation" if "tenFirst" in names else known.by
            try:
                return compared(function, Ours(by, SAME), arguments)
            except Differs as difference:
                failed = failed or difference
    if len(names) == 2 and re.search("corr|cost_?vol", name, re.IGNORECASE):
        return cost_volume(function)
    raise failed or Differs(f"its parameters are ({', '.join(names)}), expected those of an op that we have")


def cost_volume(function: Function) -> Ours:
    """Of any radius, as its result says."""
    arguments = [_kernels.maps(again) for again in (False, True)]
    radius = _kernels.radius_of(_kernels.called(function, arguments[0])[0])
    failed: Exception | None = None
    for options in COSTS:
        try:
            ours = with_options("vk.correlation", SAME, (("radius", radius), *options.items()))
            return compared(function, ours, arguments)
        except (Differs, _trials.CannotRun) as difference:
            failed = failed or difference
    assert failed is not None
    raise failed


def compared(function: Function, ours: Ours, trials: list[Arguments]) -> Ours:
    """`ours`, if values and gradients are the same."""
    for arguments in trials:
        given = [a.clone().requires_grad_() if isinstance(a, Tensor) else a for a in arguments]
        leaves = tuple(a for a in given if isinstance(a, Tensor))
        theirs, slopes = _kernels.called(function, given, leaves)
        expected, own = _trials.outcome(ours.function, given, leaves)
        _kernels.expect_close(theirs, expected)
        if not all(alike(slope, mine) for slope, mine in zip(slopes, own)):
            raise Differs("its gradient is another one")
    return ours


def alike(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two gradients are the same; none is as good as 0."""
    if a is None or b is None:
        return not any(t is not None and bool(torch.any(t != 0)) for t in (a, b))
    return a.shape == b.shape and bool((a - b).abs().max() <= 1e-3 * b.abs().max())
