"""RAFT's look-up: whether a class of another repository computes what ours does."""

import inspect
from dataclasses import dataclass

import torch
from torch import Tensor

from vfi_kernels._types import Foreign
from vfi_kernels.compat import _functions, _kernels, _trials, raft
from vfi_kernels.compat._kernels import SAME
from vfi_kernels.compat._warp_trials import Differs


@dataclass(frozen=True)
class Block:
    """A class that is made of two maps, how many levels and a radius, and called with positions."""

    by: str = "compat.raft.CorrBlock"
    reason: str = SAME

    def __str__(self) -> str:
        return self.by

    def build(self, original: Foreign) -> type:
        """Ours, made with the names and defaults of theirs."""
        signature = inspect.signature(original.__init__)

        class CorrBlock(raft.CorrBlock):
            def __init__(self, *args: Foreign, **kwargs: Foreign):
                given = signature.bind(self, *args, **kwargs)
                given.apply_defaults()
                super().__init__(*list(given.arguments.values())[1:])

        CorrBlock.__qualname__, CorrBlock.__module__ = raft.CorrBlock.__qualname__, raft.CorrBlock.__module__
        return CorrBlock


def block_for(kind: Foreign) -> Block:
    """Ours, for a class that gives the same numbers and gradients. Differs if it does not."""
    names = _kernels.parameters_of(kind.__init__)
    if len(names) != 4 or len(_kernels.parameters_of(kind.__call__)) != 1:
        raise Differs(f"it is made of ({', '.join(names)}), expected two maps, levels and a radius")
    for levels, radius in ((4, 4), (2, 3)):
        maps = [_kernels.drawn(2, 8, 32, 40, seed=n, low=-1).requires_grad_() for n in (1, 2)]
        at = _kernels.drawn(2, 2, 32, 40, seed=3, low=-6, high=44)

        def call(one: Tensor, two: Tensor, at: Tensor, made: Foreign, n: int = levels, r: int = radius) -> object:
            return made(one, two, n, r)(at)

        leaves = (maps[0], maps[1])
        ours, own = _trials.outcome(lambda *given, call=call: call(*given, raft.CorrBlock), (*maps, at), leaves)
        theirs, slopes = tried(lambda *given, call=call: call(*given, kind), (*maps, at), leaves, kind)
        _kernels.expect_close(theirs, ours)
        if not all(_functions.alike(a, b) for a, b in zip(slopes, own)):
            raise Differs("its gradient is another one")
    return Block()


def tried(
    call: Foreign, arguments: tuple[Tensor, ...], leaves: tuple[Tensor, ...], kind: Foreign
) -> tuple[object, list[torch.Tensor | None]]:
    try:
        return _trials.outcome(call, arguments, leaves, kind)
    except _trials.Misbehaves:
        raise
    except _trials.CannotRun:
        return _trials.outcome(call, arguments, leaves, kind, emulated=True)
