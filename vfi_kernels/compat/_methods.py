"""Methods that are a cost volume or another op that we have: tried on an object, and ours for those like it."""

import dataclasses
import inspect
import re
from typing import TYPE_CHECKING

from torch import Tensor

from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat import _comparing, _effects, _functions, _kernels, _state, _warp_objects
from vfi_kernels.compat._guard_calls import beyond, whose
from vfi_kernels.compat._guards import Guard
from vfi_kernels.compat._kernels import Ours
from vfi_kernels.compat._situations import FIRST
from vfi_kernels.compat._trials import CannotRun

if TYPE_CHECKING:
    from vfi_kernels.compat._roles import Candidate

OF_AN_OP = re.compile(f"warp|resample|{_functions.NAMED.pattern}", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class OfMethod:
    """`ours` in place of a method, for the objects that `guard` knows."""

    ours: Ours
    guard: Guard | None = None
    grid: str = ""  # as a WarpPlan

    @property
    def by(self) -> str:
        return self.ours.by

    @property
    def reason(self) -> str:
        return self.ours.reason

    def __str__(self) -> str:
        return str(self.ours)

    def build(self, original: Function) -> Function:
        guard, new = self.guard, dataclasses.replace(self.ours, takes_self=True).build(original)
        assert guard is not None

        def call(*args: Foreign, **kwargs: Foreign) -> Foreign:
            values = (*args[1:], *kwargs.values())
            size = tuple(values[0].shape[2:]) if values and isinstance(values[0], Tensor) else ()
            known = bool(args) and not beyond(guard, values) and whose(guard, args[0], size) == "ours"
            return (new if known else original)(*args, **kwargs)

        return _kernels.as_scriptable(call, original)


def plan_for(c: "Candidate") -> OfMethod | None:
    """What a method computes; None if it is none of those, or calls something that is judged itself."""
    parameters = list(inspect.signature(c.function).parameters.values())[1:]
    needed = sum(p.default is p.empty for p in parameters)
    counts = [2 if not known.by_shape else len(known.arguments(FIRST)) for known in _functions.kinds_named(c.name)]
    if not any(needed <= count <= len(parameters) for count in counts) or calls_another(c):
        return None
    assert c.owner is not None
    made = _warp_objects.maker(c.owner, c.instance)
    sized = c.instance is None and _warp_objects.is_sized(c.owner)

    def call(*args: Foreign) -> object:
        try:
            size = tuple(args[0].shape[2:])
            owner = _effects.owner(lambda: _warp_objects.copied(made(*size)), size if sized else ())
            return c.function(owner, *args)
        except (AttributeError, TypeError) as error:
            if c.instance is None:
                raise CannotRun(f"it needs its object: patch a model that has one ({error})") from None
            raise

    return OfMethod(_functions.identified(call, c.name, parameters, c.function))


def calls_another(c: "Candidate") -> bool:
    """Whether it names an autograd function, or a function or method of an op that we have: these are judged."""
    if _comparing.kernels_in(c.function):
        return True
    names = _state.names_in(c.function.__code__)
    others = [layer.__name__ for layer in _state.called_by(c.function) if layer is not c.function]
    methods = [name for name in names if callable(getattr(c.owner, name, None))]
    named = [v for v in map(c.function.__globals__.get, names) if v is not None]
    return any(hasattr(v, "__vfi_kernels__") for v in named) or any(map(OF_AN_OP.search, (*others, *methods)))
