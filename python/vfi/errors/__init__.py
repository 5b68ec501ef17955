"""Errors that a user can act on: one sentence, no traceback.

`ArgumentError` is loaded when it is asked for, since it needs torch and `vfi --help` does not. A module that imports
nothing heavy says `from vfi import errors` and `raise errors.ArgumentError(...)`; others import it as they like.
"""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfi.errors.argument import ArgumentError as ArgumentError

ARGUMENT = re.compile(r"`([a-z]\w*)`")


class UserError(Exception):
    """What is wrong and what to do, in one sentence; the `vfi` command prints it and exits with its code."""

    exit_code = 2

    def for_command(self) -> str:
        """The sentence, as a command says it."""
        return str(self)


class Incomplete(UserError):
    """What there was of the input is done, and written; but it ended too early, or parts of it were damaged."""

    exit_code = 3


def __getattr__(name: str) -> object:
    if name != "ArgumentError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vfi.errors.argument import ArgumentError

    return ArgumentError


@contextmanager
def called(**names: str) -> Iterator[None]:
    """Inside, arguments that have another name outside are called by that: `called(weights="flow_weights")`."""
    try:
        yield
    except UserError as error:
        sentence = ARGUMENT.sub(lambda name: f"`{names.get(name[1], name[1])}`", error.args[0])
        raise type(error)(sentence) from error


def option_of(argument: str) -> str:
    """How a command spells an argument: learning_rate is --learning-rate."""
    return "--" + argument.replace("_", "-")


def dtype_name(dtype: object) -> str:
    """torch's names without torch: float32."""
    return str(dtype).removeprefix("torch.")


def require(module: str, extra: str = "models") -> ModuleType:
    """Imports a module of an extra, or says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        advice = 'install it with: pip install "vfi-kernels[' + extra + ']"'
        raise UserError(f"{package} cannot be imported ({error}); {advice}") from error
