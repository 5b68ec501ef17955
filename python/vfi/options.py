"""Options that write themselves: the fields of a frozen dataclass are a model's options.

From a field's name, type, default and help come the option of the command, its `--help`, the keyword of `load_model`,
and their checks. Nothing heavy is imported: `vfi --help` reads them all.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vfi import errors

ChannelOrder = Literal["bgr", "rgb"]
Dtype = Literal["float32", "bfloat16", "float16"]

KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "the name of a file"}
TYPES = (
    "a type of int, float, str, bool, pathlib.Path, a Literal of words or of numbers, a tuple of a fixed number of one "
    "of these but bool, or one of them | None"
)

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

    The field's type is one of `TYPES`: of a `bool` called x the command makes --x and --no-x, of a tuple an option of
    so many values, of a Literal one of choices. Its name is in small letters, and none that `Options`,
    `vfi.load_model` or the command has itself. What is wrong with a field is said when the options are first read.

    Args:
        default: of the field's type and allowed; None if nothing is chosen, of a type with `| None`. The help adds it.
        help: what it is, with its unit.
        metavar: of the command's help, such as PIXELS; of a tuple one for each value.
        choices: of numbers, which Literal cannot say.
        least, most: bounds of a number, both allowed.
        of_clip: clips with captions bring it, so that who evaluates on them must not give it.
    """
    more = {"metavar": metavar, "choices": choices, "least": least, "most": most, "of_clip": of_clip}
    metadata = {"help": help, **more}
    if type(default).__hash__ is None:  # dataclasses would refuse it without saying whose it is
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


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
            raise errors.ArgumentError(f"expected `{self.name}` to be {self.count} values, got {value!r}")
        return tuple(self._checked_one(part, value) for part in parts)

    def _checked_one(self, part: object, whole: object) -> object:
        one = converted(self.kind, part)
        if self.choices is not None and one not in self.choices:
            names = ", ".join(shown(choice) for choice in self.choices)
            got = part if self.kind is str and isinstance(part, str) and part else repr(part)
            raise errors.ArgumentError(f"expected `{self.name}` {names}, got {got}")
        if one is None:
            raise errors.ArgumentError(f"expected `{self.name}` to be {KINDS[self.kind]}, got {part!r}")
        low, high = self.least, self.most
        if (low is not None and not one >= low) or (high is not None and not one <= high):
            bounds = f"of {shown(low)} or more" if high is None else f"from {shown(low)} to {shown(high)}"
            raise errors.ArgumentError(f"expected `{self.name}` {bounds}, got {whole!r}")
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


def whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """The argument `name` as an int.

    Raises:
        ArgumentError: if it is no whole number, or out of bounds.
    """
    number: int | None = converted(int, value)
    if number is None:
        raise errors.ArgumentError(f"expected `{name}` to be a whole number, got {value!r}")
    if number < least or (most is not None and number > most):
        bounds = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise errors.ArgumentError(f"expected `{name}` {bounds}, got {value!r}")
    return number


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

    @property
    def needs_weights(self) -> bool:
        """Whether a model that has weights cannot do without them."""
        return True

    def check(self) -> None:
        """Of values that depend on each other, or have a rule of their own: raises ArgumentError."""

    @classmethod
    def of(cls: type[Chosen], owner: str, values: Mapping[str, object]) -> Chosen:
        """From keywords, of which those that are None are not given.

        Raises:
            ArgumentError: if there is no such option; it names `owner`'s own.
        """
        own = [each.name for each in options_of(cls)]
        for name in values:
            if name not in own and values[name] is not None:
                its = ", ".join(f"`{each}`" for each in own) or "none"
                raise errors.ArgumentError(f"`{name}` is not for {owner}: it has {its}")
        return cls(**{name: value for name, value in values.items() if value is not None})


@dataclass(frozen=True)
class TrainingOptions(Options):
    """Of a model's training. data: what it is trained on, for help."""

    data: ClassVar[str] = "Vimeo90K's folder, or a folder of folders with im1, im2, im3 (.png)"


def options_of(options: type[Options]) -> tuple[Option, ...]:
    """What the fields say, in their order.

    Raises:
        ArgumentError: if a field cannot be an option; says which, and what was expected.
    """
    try:
        hints = get_type_hints(options)
    except NameError as error:
        raise errors.ArgumentError(f"{options.__name__}: expected types that are imported, got {error}") from error
    named = [each.name for each in fields(options)]
    for name, hint in hints.items():
        if name not in named and hint is not ClassVar and get_origin(hint) is not ClassVar:
            wanted = f"{options.__name__} to be a dataclass(frozen=True)"
            raise errors.ArgumentError(f"{options.__name__}.{name}: expected {wanted}, got a class without the field")
    return tuple(option_of_field(options, each, hints[each.name]) for each in fields(options))


def option_of_field(options: type[Options], each: "Field[object]", hint: object) -> Option:
    """What one field says, if it is as `option` asks for."""

    def expect(right: bool, expected: str, got: object) -> None:
        if not right:
            raise errors.ArgumentError(f"{options.__name__}.{each.name}: expected {expected}, got {got}")

    own = dir(TrainingOptions if issubclass(options, TrainingOptions) else Options)
    expect(each.name not in own, "a name that the class of options has not itself", each.name)
    expect(re.fullmatch("[a-z][a-z0-9_]*", each.name) is not None, "a name in small letters", each.name)
    default = each.default if each.default_factory is MISSING else each.default_factory()
    usual = "no default" if default is MISSING else repr(default)
    expect("of_clip" in each.metadata, "a field made by vfi.options.option(default, help)", usual)
    kind, count, words, optional = read_type(hint)
    expect(kind is not None, TYPES, hint.__name__ if isinstance(hint, type) and not get_args(hint) else hint)
    assert kind is not None
    more = dict(each.metadata)
    help, metavar, choices, low, high = (more[name] for name in ("help", "metavar", "choices", "least", "most"))
    expect(isinstance(help, str) and help != "", "help to be a text", repr(help))
    names = metavar if isinstance(metavar, tuple) else () if metavar is None else (metavar,)
    expect(all(isinstance(name, str) for name in names), "metavar to be a word or several", repr(metavar))
    expect(not isinstance(metavar, tuple) or len(names) == count, f"as many words of metavar as values ({count or 1})",
           repr(metavar))  # fmt: skip
    number = kind in (int, float) and words is None
    for name, value in (("least", low), ("most", high)):
        bound = value is None or (number and converted(float, value) is not None)
        expect(bound, f"{name} to be a number, of a field of numbers", repr(value))
    if choices is not None:
        several = isinstance(choices, (tuple, list)) and len(choices) > 0
        right = number and several and all(converted(kind, choice) is not None for choice in choices)
        expect(right, "choices to be numbers in a tuple, of a field of that type", repr(choices))
        words = tuple(converted(kind, choice) for choice in choices)
    expect(optional or default is not None, "a type with | None, as its default is None", hint)
    made = Option(each.name, kind, count, words, default, help, metavar, low, high, more["of_clip"])
    try:
        made.checked(default)
    except errors.ArgumentError as error:
        expect(False, "a default that is allowed", f"{default!r} ({error})")
    return made


def read_type(hint: object) -> tuple[type | None, int | None, tuple[object, ...] | None, bool]:
    """The type of one value (None: no option can be of it), how many there are (None: one), the choices of a Literal,
    and whether it may be None."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = [part for part in parts if part is not NoneType]
    hint, optional, count = kinds[0] if len(kinds) == 1 else None, len(kinds) < len(parts), None
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        count, hint = len(parts), parts[0] if len(set(parts)) == 1 else None
    choices = get_args(hint) if get_origin(hint) is Literal else None
    if choices is not None:
        hint = type(choices[0]) if len({type(choice) for choice in choices}) == 1 else None
    allowed = (int, float, str) if choices else (int, float, str, Path) if count else tuple(KINDS)
    return hint if isinstance(hint, type) and hint in allowed else None, count, choices, optional
