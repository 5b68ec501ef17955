"""Where something stands for a tensor: subclasses of Tensor, and the proxies of torch.fx, which record calls."""

import functools
from collections.abc import Callable
from inspect import signature
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.compiler import is_compiling
from torch.fx import Proxy, Tracer
from torch.overrides import has_torch_function

from vfi_kernels._arguments import ArgumentError, is_of_arguments
from vfi_kernels._out import each, into
from vfi_kernels._tracing import makes_onnx
from vfi_kernels._types import Arguments, Function, Options

P = ParamSpec("P")
R = TypeVar("R")
# Tensors themselves, and those that stand for them while torch compiles or exports.
PLAIN = (Tensor, torch.nn.Parameter, FakeTensor, FunctionalTensor)


def overridable(function: Callable[P, R]) -> Callable[P, R]:
    """As torch's own functions (torch.overrides): `__torch_function__` of an argument decides what the call does. A
    subclass of Tensor gets results of its own type, and torch.fx a node for the whole call. Modes are asked by the ops
    inside. A wrong argument is an ArgumentError, whether Python or C++ finds it."""
    takes_lists = any("Sequence[torch.Tensor]" in str(p.annotation) for p in signature(function).parameters.values())

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        positional: Arguments = args
        stands_in = has_torch_function(positional)
        if takes_lists:
            for value in positional:
                if type(value) in (list, tuple):
                    stands_in = stands_in or has_torch_function(value)
        if stands_in or (kwargs and has_torch_function(tuple(kwargs.values()))):
            asked = torch.overrides._get_overloaded_args([v for v in each(args, kwargs) if type(v) is not Tensor])
            for value in asked:
                result: R = value.__torch_function__(call, tuple(map(type, asked)), args, kwargs)
                if result is not NotImplemented:
                    return result
            if asked:
                kinds = ", ".join(type(v).__name__ for v in asked)
                raise TypeError(f"{function.__name__}: expected tensors of types that know each other, got {kinds}")
        out = kwargs.pop("out", None)
        if is_compiling():
            return function(*args, **kwargs) if out is None else into(out, function, args, kwargs, False)
        try:
            if out is not None:
                tensors = (v for v in each((out, *args), kwargs) if isinstance(v, Tensor))
                return into(out, function, args, kwargs, written_as_memory(*tensors))
            return function(*args, **kwargs)
        except Exception as error:
            _expect_dense(function, args, kwargs)
            if isinstance(error, ArgumentError) or (isinstance(error, RuntimeError) and is_of_arguments(error)):
                raise ArgumentError(_named(function.__name__, str(error))) from None
            raise

    return call


def _named(name: str, sentence: str) -> str:
    """What a function in place has in common with another one is said in its own name."""
    plain = name.removesuffix("_")
    own = plain != name and sentence.startswith(f"{plain}: ")
    return name + sentence.removeprefix(plain) if own else sentence


def _expect_dense(function: Function, args: Arguments, kwargs: Options) -> None:
    """One sentence where torch, which met a tensor of another kind somewhere inside, has a page of them."""
    named = zip(signature(function).parameters, args)
    for name, value in (*named, *kwargs.items()):
        for t in value if type(value) in (list, tuple) else (value,):
            if isinstance(t, Tensor) and (t.layout is not torch.strided or t.is_nested or t.is_quantized):
                nested = t.layout is torch.strided and t.is_nested
                kind = "that is nested" if nested else f"of layout {t.layout}"
                kind = "that is quantized" if t.is_quantized else kind
                raise ArgumentError(
                    f"{function.__name__}: expected a dense tensor for {name}, got one {kind}"
                ) from None


def written_as_memory(*tensors: Tensor | None) -> bool:
    """Whether an op may write into a tensor made from these, as a step that nobody else sees: not where a subclass
    with memory of its own kind, or torch.func.functionalize, stands between, nor in a graph of ONNX."""
    if makes_onnx():
        return False
    for t in tensors:
        if t is not None:
            wrapped = not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(t)
            if wrapped or type(t) not in PLAIN:
                return False
    return True


def leaf(forward: Callable[P, R]) -> Callable[P, R]:
    """A module's forward that torch.fx records as one node, as it does torch.nn's modules: whatever the tracer says."""

    @functools.wraps(forward)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for value in each(args, kwargs):
            if isinstance(value, Proxy) and isinstance(value.tracer, Tracer):
                module, *inputs = list[Any](args)
                if value.tracer.root is not module:
                    path = value.tracer.path_of_module(module)
                    node: Any = value.tracer.create_proxy("call_module", path, tuple(inputs), kwargs)
                    result: R = node
                    return result
        return forward(*args, **kwargs)

    return call
