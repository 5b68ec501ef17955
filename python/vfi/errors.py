"""Errors that a user can act on: one sentence, no traceback."""

import importlib
from types import ModuleType


class UserError(Exception):
    """What is wrong and what to do, in one sentence; the `vfi` command prints it and exits with code 2."""


def require(module: str, extra: str = "models") -> ModuleType:
    """Imports a module of an extra, or says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        advice = 'install it with: pip install "vfi-kernels[' + extra + ']"'
        raise UserError(f"{package} cannot be imported ({error}); {advice}") from error
