"""Whose one call is, of a function that a guard watches."""

from collections.abc import Iterable

from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad
from torch.compiler import is_compiling

from vfi_kernels.compat._guards import Answer, Guard


def agree(theirs: object, ours: object) -> bool:
    """Whether two results are the same but for rounding."""
    if isinstance(theirs, (tuple, list)) and isinstance(ours, (tuple, list)):
        return len(theirs) == len(ours) and all(map(agree, theirs, ours))
    if not (isinstance(theirs, Tensor) and isinstance(ours, Tensor)):
        return theirs is None and ours is None
    if theirs.shape != ours.shape or theirs.dtype != ours.dtype or theirs.element_size() < 4:
        return False
    off, most = (theirs.detach() - ours.detach()).abs(), theirs.detach().abs()
    return not theirs.numel() or bool(off.max() <= 1e-3 * most.max())


def whose(guard: Guard, owner: object = None, size: tuple[int, ...] = ()) -> Answer:
    """A call's, also inside a graph."""
    if is_compiling():
        fixed = guard.in_graph and (guard.kind is None or type(owner) is guard.kind)
        return "ours" if fixed and guard.steady() else "theirs"
    return "theirs" if is_transformed() else guard.answer(owner, size)


def is_transformed() -> bool:
    """Inside torch.func's transforms, and where forward derivatives are computed: ours has no rules for these."""
    return peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def beyond(guard: Guard, values: Iterable[object]) -> bool:
    """Whether a call has tensors of other sizes than those that were tried, as far as the function compares sizes."""
    if guard.sides is None and guard.elements is None:
        return False
    given = [v for v in values if isinstance(v, Tensor)]
    return any(
        (guard.sides is not None and max(t.shape, default=0) >= guard.sides)
        or (guard.elements is not None and t.numel() >= guard.elements)
        for t in given
    )
