"""Types that several modules name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from torch import Tensor

Function: TypeAlias = Callable[..., Any]  # of which nothing else is known
Foreign: TypeAlias = Any  # an object of someone else's program
Op: TypeAlias = Callable[..., Tensor]  # one of torch.ops with one result
Ops: TypeAlias = Callable[..., tuple[Tensor, ...]]  # with several
ListOp: TypeAlias = Callable[..., tuple[list[Tensor], Tensor, Tensor]]  # with a list and two tensors
Arguments: TypeAlias = Sequence[Any]  # of an op, in the order of its schema
Options: TypeAlias = Mapping[str, Any]  # of a function, by name
Facts: TypeAlias = dict[str, Any]  # what a JSON file holds
# For each argument; of a list of tensors a list.
Gradients: TypeAlias = tuple[Tensor | Sequence[Tensor | None] | None, ...]


class Context(Protocol):
    """What autograd keeps between an op and its gradient: saved tensors, and whatever is assigned to it."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[Any, ...]  # bool; of a list of tensors a list

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...
    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...
    def set_materialize_grads(self, value: bool) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: object) -> None: ...


class VmapInfo(Protocol):
    """What torch.vmap tells an op's rule."""

    @property
    def batch_size(self) -> int: ...
