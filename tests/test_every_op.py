"""What holds for every op: agreement with the float64 oracle on every backend, strides, gradients, threads, memory."""

import importlib
from pathlib import Path

import pytest
import torch
from compare import assert_near, forward, gradients, make_cotangents, oracle_forward, oracle_gradients
from every_op import DTYPES, channels_last, check_all, every_case, every_dtype, expanded, sliced, transposed, with_flow
from op_calls import CASES, first_cases, make
from torch.autograd import gradcheck, gradgradcheck

from vfi_kernels import backends
from vfi_kernels.testing import map_tensors, tensors


def is_repeated(item):
    given = item.callspec.params if hasattr(item, "callspec") else {}
    return given.get("entries") == "random" and given["case"] in first_cases()


def is_nightly(item):
    """The reference is held to itself in float64: the first case of each op shows most of that, as of every op. Every
    entry of a Jacobian is for first cases, by day, and for the others by night."""
    given = item.callspec.params if hasattr(item, "callspec") else {}
    first = given.get("case") in first_cases() or item.originalname == "test_agrees_with_the_oracle"
    return not first and (given.get("backend") == "reference" or given.get("entries") == "every")


@every_case
@every_dtype
def test_agrees_with_the_oracle(case, backend, dtype):
    for shape in case.small:
        check_all(case, make(case, shape, dtype))


@with_flow
def test_widths_around_a_run_of_pixels(case):
    """The CPU kernels take 128 pixels of a row at a time (csrc/base/chunk.h). Gradients in float64: in float32 a
    position along resized keyframes may be on the other side of an integer."""
    for width in (127, 128, 129, 131, 255, 257):
        check_all(case, make(case, (1, 1, 2, width), torch.float64))
        arguments = make(case, (1, 1, 2, width))
        for got, expected in zip(forward(case.call, arguments), oracle_forward(case.call, arguments)):
            assert_near(got, expected, slack=case.slack)


@with_flow
@pytest.mark.parametrize("flow", ["integer", "smooth", "zoom-out", "zero", "point"])
def test_every_kind_of_flow(case, backend, flow):
    check_all(case, make(case, flow=flow))


VIEWS = [channels_last, transposed, sliced, expanded]


@every_case
@pytest.mark.parametrize("view", VIEWS, ids=lambda f: f.__name__)
def test_any_strides(case, backend, view):
    """The dtypes take turns: each meets every view in some case."""
    turn = list(CASES).index(case.name) + VIEWS.index(view)
    check_strides(case, view, (torch.float32, torch.bfloat16)[turn % 2])


@pytest.mark.nightly
@every_case
@pytest.mark.parametrize("view", VIEWS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_strides_in_every_dtype(case, backend, view, dtype):
    check_strides(case, view, dtype)


def check_strides(case, view, dtype):
    arguments = map_tensors(view, make(case, (2, 19, 7, 21), dtype))
    outs, grads = check_all(case, arguments)
    expected = torch.channels_last if view is channels_last else torch.contiguous_format
    assert outs[0].is_contiguous(memory_format=expected)
    for grad, owner in zip(grads, tensors(arguments)):
        assert grad.is_contiguous(memory_format=expected if owner.shape[1] > 1 else torch.contiguous_format)


@every_case
@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)], ids=str)
def test_empty(case, backend, shape):
    arguments = make(case, shape)
    outs = forward(case.call, arguments)
    assert [o.shape for o in outs] == [o.shape for o in oracle_forward(case.call, arguments)]
    grads = gradients(case.call, arguments, [torch.ones(o.shape) for o in outs])
    assert all(g.shape == a.shape for g, a in zip(grads, tensors(arguments)))
    for grad, expected in zip(grads, oracle_gradients(case.call, arguments, [torch.ones(o.shape) for o in outs])):
        assert_near(grad, expected)


@with_flow
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 3e9], ids=str)
def test_non_finite_and_huge_positions(case, backend, value):
    arguments = list(make(case))
    flow = arguments[case.flow]
    flow[:, 0, 1, ::2] = value
    flow[:, 1, 2:4] = value
    flow[:, :, -2, 3] = value
    check_all(case, arguments)


@every_case
@pytest.mark.parametrize("value", [torch.nan, torch.inf], ids=str)
def test_non_finite_values_stay_where_they_land(case, backend, value):
    arguments = make(case, flow="integer")
    tensors(arguments)[0][0, 1, 3, 4] = value
    for got, expected in zip(forward(case.call, arguments), oracle_forward(case.call, arguments)):
        assert_near(got, expected)
        assert got.isfinite().sum() >= got.numel() // 3


@pytest.mark.in_turn("case", "image_dtype", "other_dtype", of=3)
@with_flow
@pytest.mark.parametrize("image_dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("other_dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_mixed_dtypes(case, backend, image_dtype, other_dtype):
    arguments = make(case, dtype=torch.float64)
    frames = {id(t) for t in tensors(arguments[: case.flow])}
    check_all(case, map_tensors(lambda t: t.to(image_dtype if id(t) in frames else other_dtype), arguments))


@every_case
@pytest.mark.parametrize("backend_name", ["cpp", pytest.param("reference", marks=pytest.mark.slow)])
@pytest.mark.parametrize("entries", ["every", "random"])
def test_gradcheck(case, backend_name, entries):
    """Of every entry of the Jacobian, where they are few; or of one random direction."""
    arguments = map_tensors(lambda t: t.requires_grad_(), make(case, (1, 2, 4, 5), torch.float64))
    if not case.smooth:  # the metric's derivative counts the shift as constant: held to the oracle by other tests
        arguments = (*arguments[:-1], arguments[-1].detach())
    with backends.use_backend(backend_name):
        flat = tensors(arguments)

        def call(*leaves):
            remaining = iter(leaves)
            outs = tensors(case.call(*map_tensors(lambda _: next(remaining), arguments)))
            return tuple(torch.where(o.isfinite(), o, 0) for o in outs)  # -inf marks holes of the log-weight

        # The second Jacobian has a row for each argument and each output.
        count, outputs = sum(t.numel() for t in flat), sum(t.numel() for t in call(*flat))
        assert gradcheck(call, flat, fast_mode=entries == "random" or count > 120)
        assert gradgradcheck(call, flat, fast_mode=entries == "random" or count + outputs > 200)


@pytest.mark.parametrize("case", [c for c in CASES.values() if not c.linear], ids=lambda c: c.name)
def test_third_derivative_raises(case):
    arguments = map_tensors(lambda t: t.requires_grad_(), make(case, (1, 2, 4, 5), torch.float64))
    leaf = arguments[1 if case.flow is None else case.flow]
    (first,) = torch.autograd.grad(tensors(case.call(*arguments))[0].sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="expected at most second derivatives"):
        torch.autograd.grad(second.sum(), leaf)


@pytest.mark.in_turn("case", "dtype")
@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_results_do_not_depend_on_the_thread_count(case, dtype, threads):
    arguments = make(case, (2, 5, 83, 131), dtype)
    cotangents = make_cotangents(case.call, arguments)
    results = []
    for count in (1, 2, 3, 7):
        threads(count)
        results.append(forward(case.call, arguments) + gradients(case.call, arguments, cotangents))
    for other in results[1:]:
        for a, b in zip(results[0], other):
            if case.library:
                assert_near(b, a)
            else:
                assert torch.equal(a, b)


@pytest.mark.parametrize("op", sorted({c.op for c in CASES.values()} | {f"{c.op}_grad" for c in CASES.values()}))
def test_no_backend_goes_through_the_reference(op):
    """Forward and gradient kernels are native in C++; Triton's are too, or both are made of others."""
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"vfi_kernels::{op}", "CPU")
    triton_module = importlib.import_module(backends._triton_modules[op])
    source = Path(triton_module.__file__).read_text()
    assert op in backends._composed or callable(getattr(triton_module, op))
    assert f"reference.{op}(" not in source


@every_case
def test_half_inputs_get_no_float32_copy(case):
    """Torch allocates the results and some planes of weights, nothing of the images' size beside them, in the layout
    that the op reads; of contiguous inputs at most a copy in half precision."""
    beside = []
    for layout in (torch.contiguous_format, torch.channels_last):
        arguments = map_tensors(
            lambda t, to=layout: t.contiguous(memory_format=to) if t.dim() == 4 else t,
            make(case, (1, 16, 64, 64), torch.float16),
        )
        forward(case.call, arguments)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            outs = forward(case.call, arguments)
        allocated = sum(max(0, e.self_cpu_memory_usage) for e in profile.key_averages())
        beside.append(allocated - sum(o.nbytes for o in outs))
    planes = 8 * 4 * 64 * 64  # half of one float32 copy
    assert min(beside) <= planes and beside[0] <= planes + sum(t.nbytes for t in tensors(arguments))
