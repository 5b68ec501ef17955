"""Options that write themselves: the fields of a frozen dataclass are a model's options.

From a field's name, type, default and help come the option of the command, its `--help`, the keyword of `load_model`,
and their checks. Nothing heavy is imported: `vfi --help` reads them all.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from vfi.errors import ArgumentError

ChannelOrder = Literal["bgr", "rgb"]
Dtype = Literal["float32", "bfloat16", "float16"]

KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "the name of a file"}

Chosen = TypeVar("Chosen", bound="Options")


def option(
    default: Any,
    help: str,
    *,
    metavar: str | tuple[str, ...] | None = None,
    choices: tuple[float, ...] | None = None,
    least: float | None = None,
    most: float | None = None,
    of_clip: bool = False,
) -> Any:
    """A field of `Options`.

    Args:
        default: None if nothing is chosen.
        help: what it is, with its unit.
        metavar: of the command's help, such as PIXELS.
        choices: of numbers, which Literal cannot say.
        least, most: bounds of a number, both allowed.
        of_clip: clips with captions bring it, so that who evaluates on them must not give it.
    """
    more = {"metavar": metavar, "choices": choices, "least": least, "most": most, "of_clip": of_clip}
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True)
class Option:
    """What a field says."""

    name: str
    kind: type  # one of KINDS
    count: int | None  # of values; None: a single one
    choices: tuple[object, ...] | None
    default: object
    help: str
    metavar: str | tuple[str, ...] | None
    least: float | None
    most: float | None
    of_clip: bool

    def read(self, text: object) -> object:
        """What the command was given, as what Python would be given; text that cannot be stays as it is."""
        if isinstance(text, list):
            return [self.read(part) for part in text]
        try:
            return self.kind(text) if self.kind in (int, float) and isinstance(text, str) else text
        except ValueError:
            return text

    def checked(self, value: object) -> object:
        """The value in this option's type.

        Raises:
            ArgumentError: if it is of another type, no choice, or out of bounds.
        """
        if value is None and self.default is None:
            return None
        if self.count is None:
            return self._checked_one(value, value)
        parts = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else []
        if len(parts) != self.count:
            raise ArgumentError(f"expected `{self.name}` to be {self.count} values, got {value!r}")
        return tuple(self._checked_one(part, value) for part in parts)

    def _checked_one(self, part: object, whole: object) -> object:
        one = converted(self.kind, part)
        if self.choices is not None and one not in self.choices:
            names = ", ".join(shown(choice) for choice in self.choices)
            raise ArgumentError(f"expected `{self.name}` {names}, got {shown(part)}")
        if one is None:
            raise ArgumentError(f"expected `{self.name}` to be {KINDS[self.kind]}, got {part!r}")
        low, high = self.least, self.most
        if (low is not None and not one >= low) or (high is not None and not one <= high):
            bounds = f"of {shown(low)} or more" if high is None else f"from {shown(low)} to {shown(high)}"
            raise ArgumentError(f"expected `{self.name}` {bounds}, got {shown(whole)}")
        return one


def converted(kind: type, value: object) -> Any:
    """The value in this type, or None if it is of another one."""
    if kind is bool or isinstance(value, bool):
        return value if isinstance(value, kind) and kind is bool else None
    if kind is Path:
        return Path(value) if isinstance(value, (str, os.PathLike)) else None
    if kind is int:
        return int(value) if isinstance(value, Integral) else None
    if kind is float:
        return float(value) if isinstance(value, Real) else None
    return value if isinstance(value, kind) else None


def shown(value: object) -> str:
    """As a user would write it."""
    if isinstance(value, (list, tuple)):
        return " ".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Options:
    """Without a field: no options. Values are checked when they are set."""

    def __post_init__(self) -> None:
        for each in options_of(type(self)):
            object.__setattr__(self, each.name, each.checked(vars(self)[each.name]))
        self.check()

    def check(self) -> None:
        """Of values that depend on each other, or have a rule of their own: raises ArgumentError."""

    @classmethod
    def of(cls: type[Chosen], owner: str, given: Mapping[str, object]) -> Chosen:
        """From keywords, of which those that are None are not given.

        Raises:
            ArgumentError: if there is no such option; it names `owner`'s own.
        """
        values, own = {name: value for name, value in given.items() if value is not None}, options_of(cls)
        for name in values:
            if name not in [each.name for each in own]:
                names = ", ".join(f"`{each.name}`" for each in own)
                known = f"it has {names}" if own else "it has none"
                raise ArgumentError(f"`{name}` is not for {owner}: {known}")
        return cls(**values)


@dataclass(frozen=True)
class TrainingOptions(Options):
    """Of a model's training. data: what it is trained on, for help."""

    data: ClassVar[str] = "Vimeo90K's folder, or a folder of folders with im1, im2, im3 (.png)"


def options_of(options: type[Options]) -> list[Option]:
    """What the fields say, in their order."""
    hints, found = get_type_hints(options), []
    for each in fields(options):
        kind, count, choices = read_type(hints[each.name])
        more = dict(each.metadata)
        choices = more.pop("choices") or choices
        found.append(Option(each.name, kind, count, choices, each.default, **more))
    return found


def read_type(hint: object) -> tuple[type, int | None, tuple[object, ...] | None]:
    """The type of one value, how many there are (None: one), and the choices of a Literal."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    count = None
    if get_origin(hint) is tuple:
        count, hint = len(get_args(hint)), get_args(hint)[0]
    choices = get_args(hint) if get_origin(hint) is Literal else None
    return type(choices[0]) if choices else cast(type, hint), count, choices
