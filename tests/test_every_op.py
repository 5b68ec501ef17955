"""What holds for every op: agreement with the float64 oracle on every backend, gradients, registration, compilation."""

import importlib
import warnings
from pathlib import Path

import pytest
import torch
from compare import assert_near, coarsest, forward, gradients, make_cotangents, oracle_forward, oracle_gradients
from op_calls import CASES, SHAPE, RecordOps, first_cases, make
from torch.autograd import gradcheck, gradgradcheck

from vfi_kernels import backends
from vfi_kernels.testing import map_tensors, tensors

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
with_flow = pytest.mark.parametrize("case", [c for c in CASES.values() if c.flow is not None], ids=lambda c: c.name)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def check_all(case, arguments):
    """Forward and every gradient against the oracle."""
    for got, expected in zip(forward(case.call, arguments), oracle_forward(case.call, arguments)):
        assert_near(got, expected, slack=case.slack)
    cotangents = make_cotangents(case.call, arguments)
    expected_gradients = oracle_gradients(case.call, arguments, cotangents)
    for got, expected in zip(gradients(case.call, arguments, cotangents), expected_gradients):
        # A gradient sums over channels or over the pixels that land on one target. That of a quotient needs the
        # quotient itself, rounded to the coarsest dtype in every channel.
        channels = sum(t.shape[1] for t in tensors(arguments[0])) if "splat" in case.op else 0
        assert_near(got, expected, slack=(4 + channels) * case.slack, dtype=coarsest(arguments))


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


def channels_last(t):
    return t.contiguous(memory_format=torch.channels_last)


def transposed(t):
    return t.transpose(-1, -2).contiguous().transpose(-1, -2)


def sliced(t):
    wide = torch.full((*t.shape[:2], t.shape[2] + 2, 2 * t.shape[3]), torch.nan, dtype=t.dtype)
    wide[:, :, 1:-1, ::2] = t
    return wide[:, :, 1:-1, ::2]


def expanded(t):
    return t[:1].expand(t.shape)


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
    check_all(case, arguments)
    inputs, outs = tensors(arguments), forward(case.call, arguments)
    expected = torch.channels_last if view is channels_last else torch.contiguous_format
    assert outs[0].is_contiguous(memory_format=expected)
    for grad, owner in zip(gradients(case.call, arguments, make_cotangents(case.call, arguments)), inputs):
        assert grad.is_contiguous(memory_format=expected if owner.shape[1] > 1 else torch.contiguous_format)


@every_case
@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)], ids=str)
def test_empty(case, backend, shape):
    arguments = make(case, shape)
    outs = forward(case.call, arguments)
    assert [o.shape for o in outs] == [o.shape for o in oracle_forward(case.call, arguments)]
    found = gradients(case.call, arguments, [torch.ones(o.shape) for o in outs])
    assert all(g.shape == a.shape for g, a in zip(found, tensors(arguments)))
    for grad, expected in zip(found, oracle_gradients(case.call, arguments, [torch.ones(o.shape) for o in outs])):
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


@with_flow
@pytest.mark.parametrize("image_dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("other_dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_mixed_dtypes(case, backend, image_dtype, other_dtype):
    arguments = make(case, dtype=torch.float64)
    frames = {id(t) for t in tensors(arguments[: case.flow])}
    check_all(case, map_tensors(lambda t: t.to(image_dtype if id(t) in frames else other_dtype), arguments))


@every_case
@pytest.mark.parametrize("backend_name", ["cpp", pytest.param("reference", marks=pytest.mark.slow)])
def test_gradcheck(case, backend_name):
    arguments = map_tensors(lambda t: t.requires_grad_(), make(case, (1, 2, 4, 5), torch.float64))
    if not case.smooth:  # the metric's derivative counts the shift as constant: held to the oracle by other tests
        arguments = (*arguments[:-1], arguments[-1].detach())
    with backends.use_backend(backend_name):
        flat = tensors(arguments)

        def call(*leaves):
            found = iter(leaves)
            outs = tensors(case.call(*map_tensors(lambda _: next(found), arguments)))
            return tuple(torch.where(o.isfinite(), o, 0) for o in outs)  # -inf marks holes of the log-weight

        # Many numbers: one random direction in place of every entry of the Jacobian. The second one has a row for each
        # argument and each output.
        entries = sum(t.numel() for t in flat)
        outputs = sum(t.numel() for t in call(*flat))
        assert gradcheck(call, flat, fast_mode=entries > 120)
        assert gradgradcheck(call, flat, fast_mode=entries + outputs > 200)


@pytest.mark.parametrize("case", [c for c in CASES.values() if not c.linear], ids=lambda c: c.name)
def test_third_derivative_raises(case):
    arguments = map_tensors(lambda t: t.requires_grad_(), make(case, (1, 2, 4, 5), torch.float64))
    leaf = arguments[1 if case.flow is None else case.flow]
    (first,) = torch.autograd.grad(tensors(case.call(*arguments))[0].sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="expected at most second derivatives"):
        torch.autograd.grad(second.sum(), leaf)


REGISTERED = ("test_schema", "test_autograd_registration", "test_faketensor")
DYNAMIC = "test_aot_dispatch_dynamic"  # traces with symbolic sizes: seconds, where the others take milliseconds


def recorded(case):
    """(op, args, kwargs) of every op that a call of `case` and its gradient run, and the same with gradients wanted."""
    calls = []
    cotangents = make_cotangents(case.call, make(case))
    with RecordOps(calls):
        gradients(case.call, make(case), cotangents)
    for name, args, kwargs in calls:
        op = getattr(torch.ops.vfi_kernels, name.split(".")[1]).default
        yield op, map_tensors(lambda t: t.detach(), args), kwargs
        yield op, map_tensors(lambda t: t.detach().requires_grad_(t.is_floating_point()), args), kwargs


@every_case
def test_registration(case):
    """Schema, fake kernel, autograd and aliasing agree with what the kernel does."""
    calls = list(recorded(case))
    # An op may run others beside its own, as routed_conv2d does scatter.
    assert {case.op, f"{case.op}_grad"} <= {op.name().split("::")[1] for op, *_ in calls}
    for op, args, kwargs in calls:
        torch.library.opcheck(op, args, kwargs, test_utils=REGISTERED)


first_case_of_each_op = pytest.mark.parametrize("case", first_cases(), ids=lambda c: c.name)


@pytest.mark.slow
@first_case_of_each_op
def test_registration_with_symbolic_sizes(case):
    """Once for each op and its gradient."""
    for op, args, kwargs in {op: (op, args, kwargs) for op, args, kwargs in recorded(case)}.values():
        if op.name().split("::")[1].removesuffix("_grad") == case.op:
            torch.library.opcheck(op, args, kwargs, test_utils=DYNAMIC)


@pytest.mark.nightly
@every_case
def test_registration_of_every_case_with_symbolic_sizes(case):
    for op, args, kwargs in recorded(case):
        torch.library.opcheck(op, args, kwargs, test_utils=DYNAMIC)


@every_case
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_compiles_without_a_graph_break(case, dynamic):
    check_compiled(case, "aot_eager", dynamic)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", ["backward_warp-border", "warp_blend", "splat-softmax-several"])
def test_compiles_with_inductor(name, dynamic):
    check_compiled(CASES[name], "inductor", dynamic)


@pytest.mark.slow
@first_case_of_each_op
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_every_op_compiles_with_inductor(case, dynamic):
    check_compiled(case, "inductor", dynamic)


def check_compiled(case, compiler, dynamic):
    """One graph, and the eager results; the code that inductor makes of our own log and where may round otherwise."""
    torch._dynamo.reset()
    compiled = torch.compile(case.call, fullgraph=True, backend=compiler, dynamic=dynamic)
    for shape in [SHAPE, (2, 3, 8, 12)] if dynamic else [SHAPE]:
        arguments = make(case, shape)
        for got, expected in zip(forward(compiled, arguments), forward(case.call, arguments)):
            torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
        cotangents = make_cotangents(case.call, arguments)
        pairs = zip(gradients(compiled, arguments, cotangents), gradients(case.call, arguments, cotangents))
        for got, expected in pairs:
            torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


@every_case
def test_export_round_trip(case, tmp_path):
    class Module(torch.nn.Module):
        def forward(self, *arguments):
            return case.call(*arguments)

    arguments = tuple(make(case))
    program = torch.export.export(Module(), arguments)
    torch.export.save(program, tmp_path / "op.pt2")
    again = torch.export.load(tmp_path / "op.pt2").module()
    for got, expected in zip(tensors(again(*arguments)), forward(case.call, arguments)):
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


@every_case
def test_vmap_without_the_slow_fallback(case):
    arguments = [map_tensors(lambda t: torch.stack([t, t.flip(2), t.flip(3)], 1), a) for a in make(case)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped = tensors(torch.func.vmap(case.call, in_dims=1)(*arguments))
        for n in range(3):
            alone = forward(case.call, map_tensors(lambda t, n=n: t[:, n], arguments))
            for got, expected in zip(mapped, alone):
                torch.testing.assert_close(got[n], expected, rtol=0, atol=0)
        # A whole Jacobian in one backward: vmap over the cotangent maps the gradient op.
        leaves = map_tensors(lambda t: t.clone().requires_grad_(), make(case))
        out = tensors(case.call(*leaves))[0]
        cotangents = torch.randn(4, *out.shape)
        rows = torch.func.vmap(lambda g: torch.autograd.grad(out, tensors(leaves), g, retain_graph=True))(cotangents)
        for n in range(4):
            alone = torch.autograd.grad(out, tensors(leaves), cotangents[n], retain_graph=True)
            for got, expected in zip(rows, alone):
                torch.testing.assert_close(got[n], expected, rtol=0, atol=0)


@every_case
def test_jvp_raises(case):
    arguments = make(case)

    def of_first(first):
        rest = [first, *tensors(arguments)[1:]]
        found = iter(rest)
        return tensors(case.call(*map_tensors(lambda _: next(found), arguments)))[0]

    first = tensors(arguments)[0]
    with pytest.raises(RuntimeError, match=f"{case.op}: expected no forward-mode"):
        torch.func.jvp(of_first, (first,), (torch.ones_like(first),))


@pytest.mark.parametrize("case", [c for c in CASES.values() if not c.autocast], ids=lambda c: c.name)
def test_autocast_changes_nothing(case):
    arguments = make(case, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = forward(case.call, arguments)
    for got, expected in zip(inside, forward(case.call, arguments)):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_results_do_not_depend_on_the_thread_count(case, dtype, threads):
    arguments = make(case, (2, 5, 83, 131), dtype)
    cotangents = make_cotangents(case.call, arguments)
    found = []
    for count in (1, 2, 3, 7):
        threads(count)
        found.append(forward(case.call, arguments) + gradients(case.call, arguments, cotangents))
    for other in found[1:]:
        for a, b in zip(found[0], other):
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
    """Torch allocates the results and some planes of weights, nothing of the images' size beside them."""
    arguments = make(case, (1, 16, 64, 64), torch.float16)
    forward(case.call, arguments)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        outs = forward(case.call, arguments)
    allocated = sum(max(0, e.self_cpu_memory_usage) for e in profile.key_averages())
    planes = 8 * 4 * 64 * 64  # half of one float32 copy
    assert allocated <= sum(o.nbytes for o in outs) + planes
