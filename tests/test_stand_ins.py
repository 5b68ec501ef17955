"""Calls with something else than plain tensors of one size: torch.fx, torch.jit.trace, subclasses of Tensor."""

import inspect
import warnings
from typing import ClassVar

import pytest
import torch
from op_calls import CASES, make
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils import _pytree as pytree

import vfi_kernels as vk
from vfi_kernels.testing import every_other_patch, map_tensors, tensors

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
recording = pytest.mark.parametrize("recording", [False, True], ids=["no_grad", "grad"])
PUBLIC = [f for f in map(vars(vk).get, vk.__all__) if inspect.isfunction(f) and f is not vk.use_backend]


class Marked(torch.Tensor):
    """A subclass that changes nothing."""


class Recorded(torch.Tensor):
    """Notes the calls of public functions."""

    calls: ClassVar[list] = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in PUBLIC:
            cls.calls.append((func, args, kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


def marked(arguments, kind):
    return map_tensors(lambda t: t.as_subclass(kind), arguments)


def assert_same(got, expected, **tolerance):
    for a, b in zip(tensors(got), tensors(expected), strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, **{"rtol": 0, "atol": 0, **tolerance})


def public_calls(case):
    """(function, args, kwargs) of vfi_kernels that the case's call makes."""
    Recorded.calls.clear()
    case.call(*marked(make(case), Recorded))
    assert any(func is getattr(vk, case.op) for func, *_ in Recorded.calls)
    return [(func, *marked((args, kwargs), torch.Tensor)) for func, args, kwargs in Recorded.calls]


def named(call, count):
    """`call` of a list of tensors as a function with a parameter for each, as torch.fx reads it."""
    names = ", ".join(f"t{n}" for n in range(count))
    return eval(f"lambda {names}: call([{names}])", {"call": call})


def of_leaves(func, args, kwargs):
    """A function of the tensors among the arguments, and these."""
    flat, spec = pytree.tree_flatten((args, kwargs))
    places = [n for n, v in enumerate(flat) if isinstance(v, torch.Tensor)]

    def call(leaves):
        replaced = dict(zip(places, leaves))
        args, kwargs = pytree.tree_unflatten([replaced.get(n, v) for n, v in enumerate(flat)], spec)
        return func(*args, **kwargs)

    return named(call, len(places)), [flat[n] for n in places]


@every_case
def test_symbolic_trace(case):
    for func, args, kwargs in public_calls(case):
        call, leaves = of_leaves(func, args, kwargs)
        graph = torch.fx.symbolic_trace(call)
        assert [n.target for n in graph.graph.nodes if n.op == "call_function"] == [func]
        assert_same(graph(*leaves), func(*args, **kwargs))


def test_symbolic_trace_of_the_others():
    """What no case calls: lists of patches, and the in-place forms. Numbers may be proxies too."""
    x, weight = torch.rand(1, 3, 8, 8), torch.rand(3, 3, 3, 3)

    def call(x, weight, route, base, other):
        listed = vk.patch_indices(route)
        first = vk.routed_conv2d_(x, weight, None, listed, x.shape[2] // 2, base=base)
        return first, vk.patch_scatter_(vk.patch_gather(x, listed, 4), listed, other)

    graph = torch.fx.symbolic_trace(call)
    route, bases = torch.eye(2, dtype=torch.bool)[None], (torch.zeros_like(x), torch.ones_like(x))
    expected = call(x, weight, route, *(b.clone() for b in bases))
    assert_same(graph(x, weight, route, *bases), expected)


class Stubborn(torch.fx.Tracer):
    """As the tracers of feature extractors: only named classes are leaves, none of them ours."""

    def is_leaf_module(self, m, qualified_name):
        return isinstance(m, torch.nn.Conv2d)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.pack = vk.nn.ModulatedDeformConv2dPack(3, 3, 3, padding=1)
        self.deform = vk.compat.torchvision.DeformConv2d(3, 3, 3, padding=1)
        self.masked = vk.compat.mmcv.ModulatedDeformConv2d(3, 3, 3, padding=1)
        self.own = vk.compat.mmcv.ModulatedDeformConv2dPack(3, 3, 3, padding=1)
        self.routed = vk.nn.RoutedConv2d(3, 3, 3, 4)
        self.block = vk.nn.RoutedBlock(torch.nn.Conv2d(3, 3, 1), 4)
        self.splat = vk.compat.ebme.ModuleSoftsplat("summation")
        self.correlation = vk.compat.ebme.ModuleCorrelation()

    def forward(self, x, offset, mask, route, flow):
        x = self.masked(self.deform(self.pack(x), offset), offset, mask)
        x = self.block([self.routed(self.own(x), route)], route)
        return self.correlation(self.splat(x, flow, None), x)


def test_our_modules_are_leaves_of_any_tracer():
    net = Net()
    sizes = ((1, 3, 8, 8), (1, 18, 8, 8), (1, 9, 8, 8))
    arguments = (*(torch.rand(s) for s in sizes), torch.eye(2, dtype=torch.bool)[None], torch.rand(1, 2, 8, 8))
    graph = Stubborn().trace(net)
    assert sorted(n.target for n in graph.nodes if n.op == "call_module") == sorted(n for n, _ in net.named_children())
    assert {n.op for n in graph.nodes} == {"placeholder", "call_module", "output"}
    assert_same(torch.fx.GraphModule(net, graph)(*arguments), net(*arguments))


def test_our_module_as_the_root_is_traced_through():
    module = vk.compat.torchvision.DeformConv2d(3, 3, 3, padding=1)
    graph, x, offset = torch.fx.symbolic_trace(module), torch.rand(1, 3, 8, 8), torch.rand(1, 18, 8, 8)
    assert_same(graph(x, offset, None), module(x, offset))


@every_case
@recording
def test_jit_trace_at_other_sizes(case, recording):
    """The result, its shape and whether it has a gradient are the eager call's, or an error says what differs."""
    shapes = [(1, 3, 64, 128), (1, 3, 128, 64)] if case.name.endswith("-64") else [(2, 3, 7, 9), (1, 3, 12, 16)]

    def prepared(shape):
        return map_tensors(lambda t: t.requires_grad_(recording), make(case, shape))

    arguments = prepared(shapes[0])

    def call(*leaves):
        remaining = iter(leaves)
        return tuple(tensors(case.call(*map_tensors(lambda _: next(remaining), arguments))))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of numbers that it keeps
        traced = torch.jit.trace(call, tuple(tensors(arguments)))
    for shape in shapes:
        tensors_of_call = prepared(shape)
        expected = tensors(case.call(*tensors_of_call))
        try:
            got = traced(*tensors(tensors_of_call))
        except RuntimeError as error:
            assert shape != shapes[0] and "split_sizes to sum exactly to" in str(error)
        else:
            assert_same(got, expected, rtol=1e-6, atol=1e-6)
            assert [t.requires_grad for t in got] == [t.requires_grad for t in expected]


def test_jit_trace_of_a_curve_keeps_its_number_of_keyframes():
    image, keyframes = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 2, 8, 8)
    for call in (vk.trajectory_warp, lambda *a: vk.trajectory_splat(*a, mode="sum", holes="zero")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(lambda x, k, call=call: call(x, k, 0.4), (image, keyframes))
        assert_same(traced(image, keyframes), call(image, keyframes, 0.4))
        with pytest.raises(RuntimeError, match="split_sizes to sum exactly to 8"):
            traced(image, torch.rand(1, 4, 2, 8, 8))


def test_jit_trace_refuses_a_block():
    block, x = vk.nn.RoutedBlock(torch.nn.Conv2d(3, 3, 1), 4), torch.rand(1, 3, 8, 8)
    with pytest.raises(RuntimeError, match=r"RoutedBlock: expected torch\.export or torch\.compile, got torch\.jit"):
        torch.jit.trace(block, (x, every_other_patch(x, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(torch.jit.trace(block, (x,))(x), block(x))


@every_case
@recording
def test_subclasses_keep_their_type(case, recording):
    arguments = make(case)
    with torch.set_grad_enabled(recording):
        leaves = map_tensors(lambda t: t.requires_grad_(recording), marked(arguments, Marked))
        result = tensors(case.call(*leaves))
        assert {type(t) for t in result} == {Marked}
        assert_same([t.as_subclass(torch.Tensor) for t in result], case.call(*arguments))


@every_case
@recording
def test_wrapper_subclasses_keep_their_type(case, recording):
    """A pair of tensors, of which every op is run on the one and on the other."""
    first, second = make(case), map_tensors(lambda t: t * 0.5, make(case))
    seconds = iter(tensors(second))
    pairs = map_tensors(lambda t: TwoTensor(t, next(seconds)).requires_grad_(recording), first)
    with torch.set_grad_enabled(recording):
        result = tensors(case.call(*pairs))
    assert {type(t) for t in result} == {TwoTensor}
    assert_same([t.a for t in result], case.call(*first))
    assert_same([t.b for t in result], case.call(*second))


@pytest.mark.parametrize("wrap", [lambda t: t.as_subclass(Marked), lambda t: TwoTensor(t, t.clone())])
def test_in_place_forms_keep_the_type_of_their_base(wrap):
    x, weight, listed = torch.rand(1, 3, 8, 8), torch.rand(3, 3, 3, 3), torch.zeros(1, 3, dtype=torch.int32)
    patches, base = vk.patch_gather(x, listed, 4), torch.zeros(1, 3, 8, 8)
    for call, expected in (
        (lambda b: vk.patch_scatter_(wrap(patches), listed, b), vk.patch_scatter(patches, listed, base)),
        (
            lambda b: vk.routed_conv2d_(wrap(x), wrap(weight), None, listed, 4, base=b),
            vk.routed_conv2d(x, weight, None, listed, 4),
        ),
    ):
        wrapped = wrap(base.clone())
        result = call(wrapped)
        assert result is wrapped
        for part in (result.a, result.b) if isinstance(result, TwoTensor) else (result.as_subclass(torch.Tensor),):
            assert_same(part, expected, rtol=1e-6, atol=1e-6)


@every_case
def test_functionalize(case):
    with torch.no_grad():
        assert_same(torch.func.functionalize(case.call)(*make(case)), case.call(*make(case)))


def test_functionalize_of_a_block():
    block, x = vk.nn.RoutedBlock(torch.nn.Conv2d(3, 3, 1), 4), torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        expected = block(x, every_other_patch(x, 4))
        assert_same(torch.func.functionalize(block)(x, every_other_patch(x, 4)), expected)


def test_types_that_do_not_know_each_other_are_refused():
    with pytest.raises(TypeError, match="backward_warp: expected tensors of types that know each other, got Marked"):
        vk.backward_warp(torch.rand(1, 3, 4, 4).as_subclass(Marked), torch.rand(1, 2, 4, 4).as_subclass(Recorded))
