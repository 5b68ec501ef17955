"""Every function of torch in a block with a halo: of single pixels and allowed, or refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import get_ignored_functions, get_testing_overrides

from vfi_kernels.nn._halo import Halo
from vfi_kernels.nn._layers import CONVOLUTIONS, POOLS
from vfi_kernels.nn._local import ASKS, DRAWS, NAMED, POINTWISE, RULES, SAME
from vfi_kernels.nn._rules import joined, reshaped

C = 8


def halo():
    part = torch.zeros(2, 3, dtype=torch.int32)
    made = Halo(part, (24, 24), 8, 4, True)
    tile = torch.rand(2, C, 16, 16)
    made._mark(tile, "NCHW")
    return made, tile


def test_random_functions_are_those_that_torch_says():
    marked = set()
    for name in torch._C._dispatch_get_all_op_names():
        base, _, overload = name.removeprefix("aten::").partition(".")
        if (
            hasattr(torch.ops.aten, base)
            and name.startswith("aten::")
            and (hasattr(torch, base) or hasattr(Tensor, base))
        ):
            op = getattr(getattr(torch.ops.aten, base), overload or "default")
            marked |= {base.removesuffix("_")} if torch.Tag.nondeterministic_seeded in op.tags else set()
    networks = {"miopen_rnn", "lstm", "gru", "rnn_relu", "rnn_tanh"}  # whose dropout it is
    assert {n for n in marked if not n.startswith("_")} - networks <= {*DRAWS}


SEEN = {*NAMED, *ASKS, *CONVOLUTIONS, *POOLS, F.pad, F.interpolate}


def test_every_other_function_of_torch_is_refused():
    """So is one that torch will have tomorrow."""
    others = [f for f in {*get_testing_overrides(), *get_ignored_functions()} if f not in SEEN]
    assert len(others) > 500
    for function in [*others, lambda x: x]:
        mode, tile = halo()
        with pytest.raises(RuntimeError, match=r"^RoutedBlock: expected [^\n]+, got another "):
            mode.__torch_function__(function, (), (tile,))


FITTING = ((), (0.5,), (1,), (torch.float64,), "x", "xx", "mask", "scale")


def arguments(kind, x):
    if kind == "mask":
        return (x > 0.5, 0.0)
    if kind == "scale":
        return (0.5, 0.25)
    return (x,) * len(kind) if isinstance(kind, str) else kind


def called(function, kind, dtype, x):
    x = (4 * x).to(dtype) if dtype in (torch.bool, torch.int64) else x.clone()
    return function(x, *arguments(kind, x))


@pytest.mark.parametrize("name", [n for n in RULES if n in POINTWISE or n.removesuffix("_") in POINTWISE or n in SAME])
def test_what_is_allowed_of_single_pixels_is(name):
    """What it makes of a part is the part of what it makes of all."""
    whole = torch.rand(2, C, 16, 16, dtype=torch.float64)
    for function in [f for f, n in NAMED.items() if n == name]:
        tried = 0
        for kind in FITTING:
            for dtype in (torch.float64, torch.int64, torch.bool):
                try:
                    expected = called(function, kind, dtype, whole)
                except (TypeError, RuntimeError, ValueError):
                    continue
                if not isinstance(expected, Tensor) or (name == "where" and kind == ()):
                    continue
                result = called(function, kind, dtype, whole[..., 4:12, 4:12])
                torch.testing.assert_close(result, expected[..., 4:12, 4:12], equal_nan=True)
                tried += 1
        assert tried or "where" in name, function


DIMS = (-1, 0, 1, 2, 3, (1,), (0, 1), (2, 3), (1, 3), (), None)
ARGUMENTS = (
    *((d,) for d in DIMS), *((d, True) for d in DIMS), *((2, d) for d in DIMS), *((2, d, True) for d in DIMS),
    *((d, 1, 2) for d in (0, 1, 2, 3)), (), ((C, 16, 16),), ((C,),), ((C, 8, 8),), (0, 2, 3, 1), (0, 1, 3, 2), (1, 2),
    *((torch.rand(size, dtype=torch.float64),) for size in ((C, C), (8, 8), (C,))),
    (torch.rand(C, dtype=torch.float64), torch.ones(C, dtype=torch.float64)),
    ((1, 3), (3, 1)), ((1, 2), (0, 1)), (-1, -1, -1, -1), (5, -1, C, -1, -1), (5, -1, -1, -1, C), (-1, 5, -1, -1),
    (slice(None), torch.ones(8, dtype=torch.float64)), ((..., 0), torch.ones(C, 1, dtype=torch.float64)),
    ((slice(None), 1), 2.0), ((slice(None), slice(2)), torch.ones(2, 1, 1, dtype=torch.float64)),
)  # fmt: skip
ALONG_CHANNELS = [n for n in RULES if not {n, n.removesuffix("_")} & {*POINTWISE} and RULES[n] is not reshaped]


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", ALONG_CHANNELS)
def test_what_is_allowed_along_channels_is(name, order):
    """Whatever arguments a rule lets pass: what the function makes of a part is the part of what it makes of all."""
    whole = torch.rand(3, C, 16, 16, dtype=torch.float64).permute(["NCHW".index(c) for c in order])
    tile = whole[tuple(slice({"N": 1, "C": 0}.get(c, 4), {"N": 3, "C": C}.get(c, 12)) for c in order)]
    for function in [f for f, n in NAMED.items() if n == name]:
        for arguments in ARGUMENTS:
            mode = Halo(torch.zeros(2, 3, dtype=torch.int32), (24, 24), 4, 2, True)
            x = tile.clone()
            mode._mark(x, order)
            listed = (lambda t: [t, t]) if RULES[name] is joined else (lambda t: t)
            try:
                result = mode.__torch_function__(function, (), (listed(x), *arguments))
            except (TypeError, RuntimeError, ValueError, IndexError):
                continue
            copy = whole.clone()
            expected = function(listed(copy), *arguments)
            if result is None:  # written in place
                result, expected = x, copy
            pairs = ((result, expected),) if isinstance(result, (Tensor, str)) else zip(result, expected, strict=True)
            for part, all_of_it in pairs:
                if isinstance(part, str):  # type() without arguments
                    continue
                for at, letter in enumerate(mode._letters(part) or "none"):
                    if letter != "C":  # as many pixels before it, at whatever scale
                        begin = 1 if letter == "N" else part.shape[at] // 2
                        all_of_it = all_of_it.narrow(at, begin, part.shape[at])
                torch.testing.assert_close(part, all_of_it)
