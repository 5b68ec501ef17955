"""What users of autograd do with the gradients of any op: checkpoints, hooks, captured graphs, hvp."""

import pytest
import torch
from op_calls import CASES, calls, expect_one_sentence, first_cases, make, mutated, schemas
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

import vfi_kernels as vk
from vfi_kernels.testing import map_tensors, tensors

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
one_case_of_each_op = pytest.mark.parametrize("case", first_cases(), ids=lambda c: c.name)
every_schema = pytest.mark.parametrize("name", schemas())
mutating = pytest.mark.parametrize("name", [name for name, s in schemas().items() if mutated(s)])
TINY = (1, 2, 4, 5)


def leaves_of(case, shape=TINY):
    return map_tensors(lambda t: t.requires_grad_(), make(case, shape, torch.float64))


def flat(case, arguments):
    """The case's call as a function of the tensors among its arguments."""

    def call(*leaves):
        remaining = iter(leaves)
        return tensors(case.call(*map_tensors(lambda _: next(remaining), arguments)))

    return call


def energy(outs):
    """A scalar that is not linear in any of the outputs; -inf marks holes of the log-weight."""
    return sum(torch.where(o.isfinite(), o, 0).pow(2).sum() for o in outs)


@every_case
def test_checkpoint_changes_no_gradient(case):
    arguments = leaves_of(case)
    call, leaves = flat(case, arguments), tensors(arguments)
    expected = torch.autograd.grad(energy(call(*leaves)), leaves)
    outs = checkpoint(call, *leaves, use_reentrant=False)
    for got, wanted in zip(torch.autograd.grad(energy(outs), leaves), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=0)


@every_case
def test_saved_tensors_are_unpacked_once(case):
    """In each of two backward passes, of the gradient and of its gradient, every tensor that was packed."""
    arguments = leaves_of(case)
    leaves, packed, unpacked = tensors(arguments), [], []

    def pack(t):
        packed.append(t)
        return len(packed) - 1

    def unpack(n):
        unpacked.append(n)
        return packed[n]

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        first = torch.autograd.grad(energy(flat(case, arguments)(*leaves)), leaves, create_graph=True)
        assert unpacked and len(unpacked) == len(set(unpacked))
        unpacked.clear()
        torch.autograd.grad(energy(first), leaves)
        assert unpacked and len(unpacked) == len(set(unpacked))


@every_case
def test_tensors_saved_on_the_cpu(case):
    arguments = leaves_of(case)
    leaves = tensors(arguments)

    def both():
        first = torch.autograd.grad(energy(flat(case, arguments)(*leaves)), leaves, create_graph=True)
        return *first, *torch.autograd.grad(energy(first), leaves)

    expected = both()
    with torch.autograd.graph.save_on_cpu():
        grads = both()
    for got, wanted in zip(grads, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=0)


@every_case
def test_hessian_times_vector(case):
    """By differentiating twice in a vector that is 0 (hvp), and directly (vhp): the Hessian is symmetric."""
    arguments = make(case, TINY, torch.float64)
    leaves = tensors(arguments)
    moving = leaves if case.smooth else leaves[:-1]  # not the metric, whose derivative counts the shift as constant
    vectors = tuple(torch.randn(t.shape, generator=torch.Generator().manual_seed(5), dtype=t.dtype) for t in moving)

    def scalar(*inputs):
        return energy(flat(case, arguments)(*inputs, *leaves[len(inputs) :]))

    hvp = torch.autograd.functional.hvp(scalar, tuple(moving), vectors)[1]
    vhp = torch.autograd.functional.vhp(scalar, tuple(moving), vectors)[1]
    for got, wanted in zip(hvp, vhp, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9 * (1 + wanted.abs().max().item()))


@one_case_of_each_op
def test_hvp_is_linear_in_its_vector_and_has_no_other_derivative(case):
    leaves = tensors(leaves_of(case))
    vectors = tuple(torch.ones_like(t, requires_grad=True) for t in leaves)

    def scalar(*inputs):
        return energy(flat(case, leaves_of(case))(*inputs))

    def inner(*inputs):
        grads = torch.autograd.functional.hvp(scalar, tuple(leaves), inputs, create_graph=True)[1]
        return sum((f * (n + 1)).sum() for n, f in enumerate(grads))

    weights = tuple(torch.full_like(t, n + 1) for n, t in enumerate(leaves))
    expected = torch.autograd.functional.vhp(scalar, tuple(leaves), weights)[1]
    for got, wanted in zip(torch.autograd.grad(inner(*vectors), vectors), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9 * (1 + wanted.abs().max().item()))
    with pytest.raises(RuntimeError, match=r"^\w+_grad: expected at most second derivatives, got a third"):
        torch.autograd.grad(inner(*vectors), leaves)


@every_schema
def test_every_schema_has_its_gradient_or_refuses_it(name):
    """Called by itself, as a graph does that was captured without requires_grad, with one argument that has it."""
    op = getattr(torch.ops.vfi_kernels, name)
    for args in calls()[name]:
        floating = [t for t in tensors(args) if t.is_floating_point()]
        for chosen in floating:
            # Not the tensor itself: the calls are shared.
            fresh = map_tensors(lambda t, at=chosen: t.clone().requires_grad_(t is at), args)
            written = [t.clone() for t in tensors(fresh)]
            try:
                outs = tensors(op(*fresh))
            except RuntimeError as error:
                expect_one_sentence(error, name, name.removesuffix("_grad"))
                assert all(torch.equal(a, b) for a, b in zip(written, tensors(fresh), strict=True))
            else:
                assert any(o.requires_grad for o in outs), f"the gradient is lost: {[t.shape for t in floating]}"
        with torch.no_grad():
            op(*map_tensors(lambda t: t.clone().requires_grad_(t.is_floating_point()), args))


def check_captured(case, captured):
    """The captured call has the eager gradients, or refuses them in one sentence."""
    arguments = make(case)
    call, leaves = flat(case, arguments), [t.requires_grad_() for t in tensors(arguments)]
    try:
        outs = tensors(captured(*leaves))
    except RuntimeError as error:
        expect_one_sentence(error, case.op, f"{case.op}_", "patch_scatter_")
        return
    grads = torch.autograd.grad(energy(outs), leaves)
    for got, wanted in zip(grads, torch.autograd.grad(energy(call(*leaves)), leaves), strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=0)


@every_case
def test_make_fx_loses_no_gradient(case):
    check_captured(case, make_fx(flat(case, make(case)))(*tensors(make(case))))


@pytest.mark.slow
@one_case_of_each_op
def test_export_loses_no_gradient(case):
    class Module(torch.nn.Module):
        def forward(self, *leaves):
            return flat(case, make(case))(*leaves)

    check_captured(case, torch.export.export(Module(), tuple(tensors(make(case)))).module())


@mutating
@pytest.mark.parametrize("backend_name", ["cpp", "reference"])
def test_in_place_ops_leave_the_other_owner_of_memory_alone(name, backend_name):
    """A copy-on-write tensor has memory of its own once it is written."""
    op, places = getattr(torch.ops.vfi_kernels, name), mutated(schemas()[name])
    with vk.use_backend(backend_name):
        for args in calls()[name]:
            args = map_tensors(lambda t: t.detach().clone(), args)
            for n in places:
                args[n].zero_()
            plain, lazy = list(args), [torch._lazy_clone(a) if isinstance(a, torch.Tensor) else a for a in args]
            before = [a.clone() if isinstance(a, torch.Tensor) else a for a in args]
            op(*lazy)
            for n, (was, now) in enumerate(zip(before, args, strict=True)):
                assert not isinstance(was, torch.Tensor) or torch.equal(was, now), n
            op(*plain)
            for n in places:
                assert torch.equal(lazy[n], plain[n]) and not torch.equal(lazy[n], before[n])


@mutating
@pytest.mark.parametrize("others", [False, True], ids=["", "all"])
def test_in_place_ops_write_into_tensors_of_inference_mode_in_it_alone(name, others):
    """As torch's own do; others: every argument is of that mode, and autograd has no part in the call."""
    op, places = getattr(torch.ops.vfi_kernels, name), mutated(schemas()[name])
    for args in calls()[name]:
        copies = list(map_tensors(lambda t: t.detach().clone(), args))
        expected = map_tensors(lambda t: t.detach().clone(), args)
        with torch.inference_mode():
            for n, a in enumerate(copies):
                if isinstance(a, torch.Tensor) and (others or n in places):
                    copies[n] = a.clone()
        before = [copies[n].clone() for n in places]
        for grad in (torch.enable_grad(), torch.no_grad()):
            with grad, pytest.raises(RuntimeError, match=r"torch\.inference_mode\(\)") as error:
                op(*copies)
            expect_one_sentence(error.value, name)
            assert all(torch.equal(copies[n], was) for n, was in zip(places, before, strict=True))
        versions = [expected[n]._version for n in places]
        op(*expected)
        assert all(expected[n]._version > was for n, was in zip(places, versions, strict=True))
        with torch.inference_mode():
            op(*copies)
            assert all(torch.equal(copies[n], expected[n]) for n in places)


@pytest.mark.parametrize("kind", ["block", "convolution"])
def test_modules_in_place_leave_the_other_owner_of_memory_alone(kind):
    layer = torch.nn.Conv2d(3, 3, 3, padding=1)
    module = vk.nn.RoutedBlock(layer, 4) if kind == "block" else vk.nn.RoutedConv2d(3, 3, 3, 4)
    x, base = torch.rand(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    lazy, route = torch._lazy_clone(base), torch.tensor([[[True, False], [False, True]]])
    with torch.no_grad():
        module(x, route, lazy, inplace=True)
        assert not base.any() and torch.equal(lazy, module(x, route, base))


@mutating
@pytest.mark.parametrize("reads", [False, True])
def test_in_place_ops_write_into_a_view_that_is_negated(name, reads):
    """Or read one, and write into a plain tensor."""
    op, places = getattr(torch.ops.vfi_kernels, name), mutated(schemas()[name])
    for args in calls()[name]:
        copies = map_tensors(lambda t: t.detach().clone(), args)
        expected = map_tensors(lambda t: t.detach().clone(), args)
        for n in places:
            copies[n].zero_(), expected[n].zero_()
        floating = [n for n, a in enumerate(copies) if isinstance(a, torch.Tensor) and a.is_floating_point()]
        negated = [n for n in floating if (n in places) != reads]
        views = [torch._neg_view(-a if reads else a) if n in negated else a for n, a in enumerate(copies)]
        op(*views), op(*expected)
        for n in places:
            assert expected[n].any() and torch.equal(views[n], expected[n])
            assert reads or torch.equal(copies[n], -expected[n])
