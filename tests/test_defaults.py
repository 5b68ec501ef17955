"""Every public function works with its required arguments alone."""

import inspect

import pytest
import torch
from op_calls import CASES, arguments_of

import vfi_kernels as vk
from vfi_kernels.testing import map_tensors, tensors


def one_tap(arguments):
    """Of a convolution whose size its cases keep by a padding."""
    taps = {
        "offset": arguments["offset"][:, :2],
        "mask": arguments["mask"][:, :1],
        "weight": arguments["weight"][..., :1, :1],
    }
    return {**arguments, **taps}


CHANGED = {"modulated_deform_conv2d": one_tap}


@pytest.mark.parametrize("op", sorted({case.op for case in CASES.values()}))
def test_required_arguments_are_enough(op, rng):
    """Those of the op's first case, whose other options are left away."""
    case = next(case for case in CASES.values() if case.op == op)
    function = inspect.unwrap(getattr(vk, op))
    arguments = case.make_inputs(*case.small[-1], dtype=torch.float32, generator=rng)
    required = CHANGED.get(op, dict)(arguments_of(function, case.call, *arguments))
    needed = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    assert tensors(getattr(vk, op)(**{name: required[name] for name in needed}))


def test_both_splats_have_one_default(rng):
    """softmax where there is a metric, else average."""
    x, flow, metric = (torch.randn(1, c, 9, 12, generator=rng) for c in (3, 2, 1))
    path = flow[:, None]
    for metric_of_call, mode in ((None, "average"), (metric, "softmax")):
        expected = vk.splat(x, flow, metric_of_call, mode=mode)
        assert torch.equal(vk.splat(x, flow, metric_of_call), expected)
        assert torch.equal(vk.trajectory_splat(x, path, [0.0], metric_of_call)[:, 0], expected)
    both = [inspect.signature(inspect.unwrap(f)).parameters for f in (vk.splat, vk.trajectory_splat)]
    for name in both[0].keys() & both[1].keys():
        assert both[0][name].default == both[1][name].default, name


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_wrong_argument_is_an_argument_error(case, backend, rng):
    """Caught as RuntimeError, which torch's habit is, and as ValueError; from Python and from C++ alike."""
    arguments = case.make_inputs(*case.small[-1], dtype=torch.float32, generator=rng)
    wrong = map_tensors(lambda t: t.to(torch.complex64) if t.is_floating_point() else t, arguments)
    for kind in (vk.ArgumentError, RuntimeError, ValueError):
        with pytest.raises(kind, match=r"^\w+: expected [^\n]+, got [^\n]+$") as caught:
            case.call(*wrong)
        assert type(caught.value) is vk.ArgumentError and caught.value.__cause__ is None
