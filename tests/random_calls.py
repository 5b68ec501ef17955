"""Random calls of every op: shapes down to nothing, dtypes, strides, values that are not finite or huge, options.

`random_call(op, rng)` makes one. What a case gives is varied; options are drawn from OPTIONS by their names in
the public function's signature; BY_HAND has what no case can vary (indices, segments, the geometry of convolutions)."""

import functools
import inspect
from collections.abc import Callable
from random import Random
from typing import Any

import torch
from random_calls_by_hand import BY_HAND, EDGES
from random_draws import FLOATS, Call, Draw, placed
from torch import Tensor

import vfi_kernels as vk
import vfi_kernels.testing as cases
from vfi_kernels.testing import map_tensors

CASES = cases.generic_cases()
FLOWS = ("noise", "integer", "smooth", "zoom-out", "zero", "point")
# Values of options, by name. None: given by the case, or drawn in BY_HAND, since shapes depend on it.
OPTIONS: dict[str, Any] = {
    "padding_mode": ("border", "zeros", "reflection"),
    "mode": ("sum", "average", "linear", "softmax"),
    "holes": ("zero", "add", "clip"),
    "return_weight": (False, True),
    "return_validity": (False, True),
    "boundary": ("keys", "linear", "replicate"),
    "a": (-0.5, -0.75, 0.0, 2.5),
    "extrapolate": (False, True),
    "derivative": (False, True),
    "knots": None,
    "edge": EDGES,
    "radius": (0, 1, 2, 4, 9),
    "patch_dilation": (1, 2, (3, 1)),
    "normalize": (True, False),
    "cost": ("dot", "l1"),
    "levels": (1, 2, 5),
    **dict.fromkeys(
        (
            "kernel_size",
            "stride",
            "dilation",
            "groups",
            "offset_groups",
            "transposed",
            "segments",
            "halo",
            "memory_format",
        )
    ),
    **dict.fromkeys(
        ("activation", "activation_weight", "negative_slope", "base", "capacity", "return_count", "padding", "out")
    ),
}


def random_call(op: str, rng: Random) -> Call:
    """A call of `op`; its arguments are trees with Placed in place of tensors."""
    draw = Draw(rng)
    by_hand = BY_HAND.get(op)
    if by_hand is not None and (op not in {c.op for c in CASES.values()} or draw.rarely(0.5)):
        return by_hand(draw)
    case = draw.one_of([c for c in CASES.values() if c.op == op])
    return _from_case(draw, case)


def _from_case(draw: Draw, case: cases.OpCase) -> Call:
    usual = draw.one_of(FLOATS)
    flow = {} if case.flow is None else {"flow": draw.one_of(FLOWS)}
    arguments = case.make_inputs(*draw.shape(), dtype=torch.float64, generator=draw.generator, **flow)
    options = _options(draw, case)
    call = functools.partial(case.call, **options)
    # Far beyond the knots a flow is rounded to many pixels: it may land anywhere.
    limited = "taus" if case.flow is not None else None

    def place(name: str) -> Callable[[Tensor], Any]:
        return lambda t: placed(draw, draw.values(t, huge=name != limited).to(draw.dtype(usual)))

    names = inspect.signature(getattr(vk, case.op)).parameters
    inputs = tuple(map_tensors(place(name), argument) for name, argument in zip(names, arguments))
    return Call(f"{case.name} {options}", call, inputs, case.slack)


def options_of(case: cases.OpCase) -> set[str]:
    """Keywords of the public function that the case's call passes on."""
    inner = case.call.func if isinstance(case.call, functools.partial) else case.call
    public = getattr(vk, case.op)
    parameters = inspect.signature(inner).parameters.values()
    passes = inner is public or any(p.kind is p.VAR_KEYWORD for p in parameters)
    if not passes:
        return set()
    optional = [p for p in inspect.signature(public).parameters.values() if p.default is not p.empty]
    return {p.name for p in optional} - {"metric", "bias"}


def _options(draw: Draw, case: cases.OpCase) -> dict[str, Any]:
    options = {}
    for name in sorted(options_of(case)):
        choices = OPTIONS[name]
        if name == "mode" or choices is None or draw.rarely(0.5):
            continue
        options[name] = draw.one_of(choices)
    return options


OPS = sorted({c.op for c in CASES.values()} | set(BY_HAND))
