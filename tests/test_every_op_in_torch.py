"""What holds for every op as a part of torch: registration, compilation, export, vmap, forward mode, autocast."""

import warnings

import pytest
import torch
from compare import forward, gradients, make_cotangents
from every_op import every_case
from op_calls import CASES, SHAPE, RecordOps, first_cases, make

from vfi_kernels.testing import map_tensors, tensors

pytestmark = pytest.mark.in_turn
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
@pytest.mark.in_turn("case", of=3)
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


def is_nightly(item):
    """To compile takes seconds: by day the first case of each op, of sizes that may change, by two of them."""
    if item.originalname != "test_compiles_without_a_graph_break":
        return False
    return item.callspec.params["case"] not in first_cases() or not item.callspec.params["dynamic"]


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
@pytest.mark.in_turn("case")
@pytest.mark.parametrize("dynamic", [pytest.param(False, marks=pytest.mark.nightly), True], ids=["static", "dynamic"])
def test_every_op_compiles_with_inductor(case, dynamic):
    """Of sizes that may change by day, of two sizes one after another; of one size above, of some ops."""
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
        remaining = iter(rest)
        return tensors(case.call(*map_tensors(lambda _: next(remaining), arguments)))[0]

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
