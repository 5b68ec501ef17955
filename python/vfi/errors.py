"""Errors that a user can act on: one sentence, no traceback."""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_ARGUMENT = re.compile(r"`([a-z]\w*)`")


class UserError(Exception):
    """What is wrong and what to do, in one sentence; the `vfi` command prints it and exits with code 2."""

    def for_command(self) -> str:
        """The sentence, as a command says it."""
        return str(self)


class ArgumentError(UserError, ValueError):
    """What is wrong with an argument. The sentence has the names of arguments in backticks.

    `ArgumentError("the model needs `weights`")` reads "the model needs weights" in Python, and "the model needs
    --weights" where a command says it.
    """

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of the arguments that the sentence speaks of."""
        return tuple(_ARGUMENT.findall(self.args[0]))

    def __str__(self) -> str:
        return _ARGUMENT.sub(r"\1", self.args[0])

    def for_command(self) -> str:
        return _ARGUMENT.sub(lambda found: option_of(found[1]), self.args[0])


@contextmanager
def called(**names: str) -> Iterator[None]:
    """Inside, arguments that have another name outside are called by that: `called(weights="flow_weights")`."""
    try:
        yield
    except ArgumentError as error:
        raise ArgumentError(_ARGUMENT.sub(lambda found: f"`{names.get(found[1], found[1])}`", error.args[0])) from error


def option_of(argument: str) -> str:
    """How a command spells an argument: learning_rate is --learning-rate."""
    return "--" + argument.replace("_", "-")


def require(module: str, extra: str = "models") -> ModuleType:
    """Imports a module of an extra, or says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        advice = 'install it with: pip install "vfi-kernels[' + extra + ']"'
        raise UserError(f"{package} cannot be imported ({error}); {advice}") from error
