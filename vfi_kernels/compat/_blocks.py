"""RAFT's look-up: whether a class of another repository computes what ours does."""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vfi_kernels._types import Foreign
from vfi_kernels.compat import _comparing, _kernels, _situations, _trials, raft
from vfi_kernels.compat._kernels import SAME
from vfi_kernels.compat._situations import FIRST, Situation
from vfi_kernels.compat._warp_trials import Differs
from vfi_kernels.ops.correlation_lookup.reference import LARGEST_RADIUS, MOST_LEVELS

OURS = (raft.CorrBlock, raft.BidirCorrBlock)  # called with one map of positions, and with two
MOST_SIDE = 64  # of situations: the sizes of these maps are their own
TRIALS = ((4, 4, (24, 32)), (2, 3, (12, 16)), (5, 2, (34, 37)))  # levels, radius, the size of the maps


@dataclass(frozen=True)
class Block:
    """A class that is made of two maps, how many levels and a radius, and called with positions.

    Attributes:
        positions: with how many; what it takes besides has to be at its defaults, or the original is called.
        attributes: of one object that it is made of in place of the numbers, those that are levels and radius.
        dtypes: of the maps, for which it is ours.
    """

    positions: int
    attributes: tuple[str, ...] = ()
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    reason: str = SAME

    @property
    def by(self) -> str:
        return f"compat.raft.{OURS[self.positions - 1].__name__}"

    def __str__(self) -> str:
        return self.by

    def build(self, original: Foreign) -> type:
        """Ours, made and called with the names and defaults of theirs."""
        base: Foreign = OURS[self.positions - 1]
        made_with, called_with = inspect.signature(original.__init__), inspect.signature(original.__call__)
        positions, attributes, dtypes = self.positions, self.attributes, self.dtypes
        defaults = [p.default for p in called_with.parameters.values()][1 + positions :]

        class CorrBlock(base):  # type: ignore[misc]
            def __init__(self, *args: Foreign, **kwargs: Foreign):
                if not isinstance(self, CorrBlock):  # a class that is made of theirs, and names it
                    original.__init__(self, *args, **kwargs)
                    return
                first, second, *numbers = values_of(made_with, self, args, kwargs)
                super().__init__(first, second, *[getattr(numbers[0], a) for a in attributes] or numbers)
                self._arguments, self._other = (args, kwargs), first.dtype not in dtypes

            @functools.cached_property
            def _original(self) -> Foreign:
                args, kwargs = self._arguments
                return original(*args, **kwargs)

            def __getattr__(self, name: str) -> Foreign:
                if name.startswith("_"):
                    raise AttributeError(name)
                return getattr(self._original, name)

            def __call__(self, *args: Foreign, **kwargs: Foreign) -> Foreign:
                if not isinstance(self, CorrBlock):
                    return original.__call__(self, *args, **kwargs)
                values = values_of(called_with, self, args, kwargs)
                far = self._other or self.radius > LARGEST_RADIUS or self.num_levels > MOST_LEVELS
                if far or any(value is not default for value, default in zip(values[positions:], defaults)):
                    return self._original(*args, **kwargs)
                return super().__call__(*values[:positions])

        for name, value in vars(original).items():  # its own methods ask for these by the name that is now ours
            if not name.startswith("__") and not hasattr(CorrBlock, name):
                setattr(CorrBlock, name, value)
        CorrBlock.__name__, CorrBlock.__qualname__, CorrBlock.__module__ = base.__name__, base.__name__, base.__module__
        return CorrBlock


def values_of(
    signature: inspect.Signature, owner: object, args: tuple[Foreign, ...], kwargs: dict[str, Foreign]
) -> list[Foreign]:
    """The arguments of a method in order, defaults included."""
    given = signature.bind(owner, *args, **kwargs)
    given.apply_defaults()
    return list(given.arguments.values())[1:]


class Settings:
    """An object such as a network's `args`: what it is asked for and does not know is 2, and known from then on."""

    def __init__(self, **numbers: int):
        vars(self).update(numbers)

    def __getattr__(self, name: str) -> int:
        if name.startswith("__"):
            raise AttributeError(name)
        vars(self)[name] = 2
        return 2


def block_for(kind: Foreign) -> Block:
    """Ours, for a class that gives the same numbers and gradients. Differs if it does not."""
    names, called = _kernels.parameters_of(kind.__init__), inspect.signature(kind.__call__).parameters.values()
    needed = sum(p.default is p.empty for p in called) - 1
    simple = all(p.kind is p.POSITIONAL_OR_KEYWORD for p in called)
    if len(names) not in (3, 4) or needed not in (1, 2) or not simple:
        raise Differs(f"it is made of ({', '.join(names)}), expected two maps, and levels and a radius or their object")
    difference: Exception = Differs("it computes something else")
    for block in [Block(needed)] if len(names) == 4 else [Block(needed, names) for names in orders(kind, needed)]:
        try:
            return expect_same(kind, block)
        except Differs as error:
            difference = error
    raise difference


def orders(kind: Foreign, positions: int) -> Iterator[tuple[str, ...]]:
    """The two attributes of its third argument that a class asks for, either way. Differs if it asks for others."""
    asked = Settings()
    maps, at = drawn(positions, TRIALS[1][2])
    tried(lambda one, two, *at: kind(one, two, asked)(*at), (*maps, *at), (), kind)
    names = tuple(vars(asked))
    if len(names) != 2:
        raise Differs(f"it asks its third argument for ({', '.join(names)}), expected levels and a radius")
    yield names
    yield names[::-1]


def drawn(positions: int, size: tuple[int, int], s: Situation = FIRST) -> tuple[list[Tensor], list[Tensor]]:
    """Two maps, and positions in the second, and in the first."""
    channels = 8 if s.channels == FIRST.channels else s.channels
    maps = [_situations.drawn(s.batch, channels, *size, seed=n, low=-1) for n in (1, 2)]
    places = [_situations.drawn(s.batch, 2, *size, seed=3 + n, low=-6, high=size[1] + 4) for n in range(positions)]
    given = _situations.prepared([*maps, *places], s)
    if s.in_half:
        given[2:] = [at.float() for at in given[2:]]  # as networks have them
    return given[:2], given[2:]


def expect_same(kind: Foreign, block: Block) -> Block:
    """`block`, for the dtypes of maps for which `kind` is what it says. Differs unless it is in all TRIALS, and in the
    situations of everything else."""
    for *numbers, size in TRIALS:
        expect_same_in(kind, block, FIRST, numbers, size)
    levels, radius, size = TRIALS[1]
    more = [s for s in _situations.situations_of(kind, wide=True) if max(s.size) <= MOST_SIDE]
    for s in more:
        with contextlib.suppress(_trials.CannotRun):
            expect_same_in(kind, block, s, [levels, radius], size)
    dtypes = [torch.float32]
    for dtype in _situations.DTYPES:
        with contextlib.suppress(Differs):
            with contextlib.suppress(_trials.CannotRun):
                expect_same_in(kind, block, _situations.of_dtype(dtype), [levels, radius], size)
            dtypes.append(dtype)
    return dataclasses.replace(block, dtypes=tuple(dtypes))


def expect_same_in(
    kind: Foreign, block: Block, s: Situation, numbers: Sequence[int], size: tuple[int, int]
) -> None:  # fmt: skip
    made = (Settings(**dict(zip(block.attributes, numbers))),) if block.attributes else numbers
    maps, at = drawn(block.positions, size, s)
    leaves = _situations.leaves_of((*maps, *at))

    def call(one: Tensor, two: Tensor, *at: Tensor, what: Foreign, made: Foreign) -> object:
        return what(one, two, *made)(*at)

    theirs_call, ours_call = (
        _situations.bound(functools.partial(call, what=what, made=args), s)
        for what, args in ((kind, made), (OURS[block.positions - 1], numbers))
    )
    theirs, slopes = tried(theirs_call, (*maps, *at), leaves, kind, s.on_gpu)
    ours, own = _trials.outcome(ours_call, (*maps, *at), leaves)
    where = "" if s is FIRST else f" ({s})"
    for got, expected in pairs(theirs, ours):
        if not _situations.like(got, expected):
            raise Differs(f"it returns {_comparing.described(got)}, ours {_comparing.described(expected)}")
        if not _situations.close(got, expected, s):
            raise Differs(f"it computes something else{where}")
    if not all(_situations.alike(a, b) for a, b in zip(slopes, own)):
        raise Differs("its gradient is another one")


def pairs(theirs: object, ours: object) -> Iterator[tuple[object, object]]:
    """Of results to compare: each with each where both are as many."""
    if isinstance(theirs, tuple) and isinstance(ours, tuple) and len(theirs) == len(ours):
        return zip(theirs, ours)
    return iter([(theirs, ours)])


def tried(
    call: Foreign, arguments: tuple[Tensor, ...], leaves: tuple[Tensor, ...], kind: Foreign, on_gpu: bool = False
) -> tuple[object, list[torch.Tensor | None]]:
    try:
        return _trials.outcome(call, arguments, leaves, kind, emulated=on_gpu)
    except _trials.Misbehaves:
        raise
    except _trials.CannotRun:
        return _trials.outcome(call, arguments, leaves, kind, emulated=True)
