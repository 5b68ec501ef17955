"""Keywords as the releases of a function spell them: tenInput, tensorInput, tenIn; tenFirst, tenOne, input1."""

import functools
import re
from collections.abc import Callable, Sequence
from inspect import signature
from typing import ParamSpec, TypeVar

from vfi_kernels._types import Options

P = ParamSpec("P")
R = TypeVar("R")
PREFIX = re.compile(r"^(tensor|ten|str|bool)_?(?=[A-Z])")
WORDS = {  # what is meant by each word, as far as they differ
    "in": "input", "img": "input", "image": "input", "x": "input", "im": "input", "frame": "input",
    "flo": "flow", "flow": "flow", "type": "mode", "importance": "metric", "z": "metric",
}  # fmt: skip
FIRST = re.compile(r"(first|one|left|source|ref)$", re.IGNORECASE)
SECOND = re.compile(r"(second|two|right|target|b)$", re.IGNORECASE)


def meaning(name: str) -> str:
    word = PREFIX.sub("", name).lower()
    return WORDS.get(word, word)


def any_spelling(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, whose keywords may be spelled otherwise; what means none of them is a TypeError, as ever."""
    own = {meaning(name): name for name in signature(function).parameters}

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        spelled: Options = {own.get(meaning(name), name): value for name, value in kwargs.items()}
        return function(*args, **spelled)

    return call


def any_names_of_two(function: Callable[P, R]) -> Callable[P, R]:
    """`function` of two maps (and of self), whose keywords may be any: one that says so is the second, otherwise they
    are as they come."""
    first, second = list(signature(function).parameters)[-2:]

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **renamed(kwargs, (first, second)))

    return call


def renamed(given: Options, own: Sequence[str]) -> Options:
    """The keywords under our two names."""
    if set(given) <= set(own):
        return given
    if len(given) == 1:
        ((name, value),) = given.items()
        return {own[0 if FIRST.search(name) else 1]: value}
    if len(given) == 2:
        return dict(zip(own, (given[name] for name in sorted(given, key=place))))
    return given


def place(name: str) -> int:
    """By the number at its end, or its word."""
    number = re.search(r"\d+$", name)
    return int(number[0]) if number else int(SECOND.search(name) is not None)
