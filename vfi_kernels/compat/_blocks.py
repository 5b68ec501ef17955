"""RAFT's look-up: whether a class of another repository computes what ours does."""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vfi_kernels import _autocast as autocast
from vfi_kernels._types import Foreign
from vfi_kernels.compat import _comparing, _flow, _kernels, _limits, _situations, _state, _trials, raft
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
        autocast: whether what it gives inside torch.autocast has our dtype.
    """

    positions: int
    attributes: tuple[str, ...] = ()
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    autocast: bool = True
    reason: str = SAME

    @property
    def by(self) -> str:
        return f"compat.raft.{OURS[self.positions - 1].__name__}"

    def __str__(self) -> str:
        return self.by

    def build(self, original: Foreign) -> type:
        """A class of theirs, whose objects are ours until someone reads or changes more of them than their results."""
        made_with, called_with = inspect.signature(original.__init__), inspect.signature(original.__call__)
        positions, plan, kept = self.positions, self, self.numbers_kept(original)
        defaults = [p.default for p in called_with.parameters.values()][1 + positions :]

        class CorrBlock(original):  # type: ignore[misc]
            def __init__(self, *args: Foreign, **kwargs: Foreign):
                if not isinstance(self, CorrBlock):  # of a class that was made of theirs, and names it
                    original.__init__(self, *args, **kwargs)
                    return
                alone = type(self) is CorrBlock  # and no class that is made of it, which may change its parts
                made = Made(plan, args, kwargs, values_of(made_with, self, args, kwargs)) if alone else None
                if made is None or made.is_theirs:
                    return super().__init__(*args, **kwargs)  # type: ignore[no-any-return]
                self.__dict__.update({name: getattr(made.ours, name) for name in kept}, _made=made)

            def __getattr__(self, name: str) -> Foreign:
                if name.startswith("__") or "_made" not in vars(self):
                    return inherited(super(), name)
                self._become_theirs()
                return getattr(self, name)

            def __setattr__(self, name: str, value: Foreign) -> None:
                self._become_theirs()
                super().__setattr__(name, value)

            def __delattr__(self, name: str) -> None:
                self._become_theirs()
                super().__delattr__(name)

            def _become_theirs(self) -> None:
                made = self.__dict__.get("_made")
                if made is not None:
                    self.__dict__.clear()  # all of it is ours
                    with torch.set_grad_enabled(made.grad):
                        super().__init__(*made.args, **made.kwargs)

            def _theirs(self, *args: Foreign, **kwargs: Foreign) -> Foreign:
                self._become_theirs()
                return super().__call__(*args, **kwargs)

            def __call__(self, *args: Foreign, **kwargs: Foreign) -> Foreign:
                if not isinstance(self, CorrBlock):
                    return original.__call__(self, *args, **kwargs)
                made = vars(self).get("_made")
                values = [] if made is None else values_of(called_with, self, args, kwargs)
                if made is None or any(value is not default for value, default in zip(values[positions:], defaults)):
                    return self._theirs(*args, **kwargs)
                return made.ours(*values[:positions])

        return CorrBlock

    def numbers_kept(self, original: Foreign) -> list[str]:
        """Which attributes of ours theirs has as well, under the same names."""
        writes = set[str]().union(*(s.writes for s in _flow.flow_of(original.__init__.__code__).statements))
        return [name for name in ("radius", "num_levels") if f".{name}" in writes]


def is_quick(first: Tensor, second: Tensor) -> bool:
    """Whether the volume of all pairs takes less than a few look-ups with gradients: small maps of many channels.

    benchmarks/lookups.py prints what both take.
    """
    trained = torch.is_grad_enabled() and (first.requires_grad or second.requires_grad)
    return trained and first.dim() == 4 and first.shape[1] > 128 and first[0, 0].numel() <= 8 * first.shape[1]


class Made:
    """What an object was made of: `ours`, and the arguments with which theirs is made later, with what was in them."""

    def __init__(self, block: Block, args: tuple[Foreign, ...], kwargs: dict[str, Foreign], values: list[Foreign]):
        first, second, *numbers = values
        numbers = [getattr(numbers[0], name) for name in block.attributes] or numbers
        plain = isinstance(first, Tensor) and isinstance(second, Tensor) and all(type(n) is int for n in numbers)
        few = plain and 1 <= numbers[0] <= MOST_LEVELS and 0 <= numbers[1] <= LARGEST_RADIUS
        ours = few and first.dtype in block.dtypes and (block.autocast or not autocast.enabled(first))
        self.is_theirs = not ours or is_quick(first, second)
        if self.is_theirs:
            return
        self.grad = torch.is_grad_enabled()
        self.ours = OURS[block.positions - 1](first, second, *numbers)
        for name, given in (("fmap1", first), ("fmap2", second)):
            copy = getattr(self.ours, name)
            copy = copy.clone() if copy.data_ptr() == given.data_ptr() else copy  # may be written to later
            setattr(self.ours, name, copy if self.grad else copy.detach())
        same = {id(first): self.ours.fmap1.to(first.dtype), id(second): self.ours.fmap2.to(second.dtype)}
        self.args = tuple(same.get(id(value), value) for value in args)
        self.kwargs = {name: same.get(id(value), value) for name, value in kwargs.items()}


def inherited(parent: Foreign, name: str) -> Foreign:
    """What a class above gives for a name, or its error."""
    get = getattr(parent, "__getattr__", None)
    if get is None:
        raise AttributeError(name)
    return get(name)


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
        self.__dict__.update(numbers)

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
    if {"super", kind.__name__} <= set[str]().union(*map(_state.names_in, codes_of(kind))):
        raise Differs("its methods ask for their class by its name, which would be another one")
    difference: Exception = Differs("it computes something else")
    for block in [Block(needed)] if len(names) == 4 else [Block(needed, names) for names in orders(kind, needed)]:
        try:
            return expect_same(kind, block)
        except Differs as error:
            difference = error
    raise difference


def codes_of(kind: type) -> list[Foreign]:
    codes = [getattr(_state.unbound(value), "__code__", None) for value in vars(kind).values()]
    return [code for code in codes if code is not None]


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
    maps, at = drawn(block.positions, size, dataclasses.replace(FIRST, grad="off"))

    def gives(change: Foreign, given: tuple[Tensor, ...]) -> object:
        made = made_with(block, [levels, radius])
        return tried(change(lambda one, two, *at: kind(one, two, *made)(*at)), given, (), kind)[0]

    cast = _limits.same_under_autocast(gives, lambda *given: ours_of(block, [levels, radius], *given), (*maps, *at))
    return dataclasses.replace(block, dtypes=tuple(dtypes), autocast=cast)


def made_with(block: Block, numbers: Sequence[int]) -> Sequence[Foreign]:
    """What theirs is made of besides two maps."""
    return (Settings(**dict(zip(block.attributes, numbers))),) if block.attributes else numbers


def ours_of(block: Block, numbers: Sequence[int], one: Tensor, two: Tensor, *at: Tensor) -> object:
    return OURS[block.positions - 1](one, two, *numbers)(*at)


def expect_same_in(
    kind: Foreign, block: Block, s: Situation, numbers: Sequence[int], size: tuple[int, int]
) -> None:  # fmt: skip
    made = made_with(block, numbers)
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
