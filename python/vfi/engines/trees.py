"""Arguments and results of a network, which may be tensors in lists, tuples and dataclasses."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import cast

from torch import Tensor

Shape = tuple[object, ...]  # where tensors are in a value, and all else that it holds
PLAIN = (bool, int, float, str, type(None))


def taken_apart(value: object) -> tuple[list[Tensor], Shape]:
    """The tensors of a value, and the rest.

    Raises:
        TypeError: if it holds something else.
    """
    if isinstance(value, Tensor):
        return [value], ("tensor",)
    if isinstance(value, PLAIN):
        return [], ("plain", value)
    if isinstance(value, (list, tuple)):
        kind, members = cast(object, type(value)), list(value)
    elif is_dataclass(value) and not isinstance(value, type):
        kind, members = type(value), [getattr(value, field.name) for field in fields(value)]
    else:
        raise TypeError(f"expected tensors and numbers, got {type(value).__name__}")
    parts = [taken_apart(member) for member in members]
    return [tensor for tensors, _ in parts for tensor in tensors], (kind, *(shape for _, shape in parts))


def put_together(tensors: Iterator[Tensor], shape: Shape) -> object:
    """The value that was taken apart."""
    kind, *rest = shape
    if kind == "tensor":
        return next(tensors)
    if kind == "plain":
        return rest[0]
    members = [put_together(tensors, cast(Shape, each)) for each in rest]
    make = cast(Callable[..., object], kind)
    return make(members) if kind in (list, tuple) else make(*members)


def arguments(tensors: Iterable[Tensor], shape: Shape) -> tuple[object, ...]:
    """A tuple that was taken apart."""
    return cast(tuple[object, ...], put_together(iter(tensors), shape))


def mapped(function: Callable[[Tensor], Tensor], value: object) -> object:
    """The value with other tensors."""
    tensors, shape = taken_apart(value)
    return put_together(iter([function(tensor) for tensor in tensors]), shape)
