"""Video frame interpolation: models by name, and the `vfi` command.

`load_model(name, weights=None, device="cpu", **options)` -> an `Interpolator`; `MODELS` says which there are. What is
wrong with an argument is an `ArgumentError`, which is a `vfi_kernels.ArgumentError` and a `UserError`, as everything
is that a user can put right.
"""

from typing import TYPE_CHECKING

from vfi.errors import UserError
from vfi.models.registry import MODELS, load_model

if TYPE_CHECKING:
    from vfi.errors.argument import ArgumentError
    from vfi.models.interpolator import Interpolator

__all__ = ["MODELS", "ArgumentError", "Interpolator", "UserError", "load_model"]


def __getattr__(name: str) -> object:
    """What needs torch is loaded when it is asked for: `vfi --help` does without."""
    if name == "ArgumentError":
        from vfi.errors.argument import ArgumentError

        return ArgumentError
    if name == "Interpolator":
        from vfi.models.interpolator import Interpolator

        return Interpolator
    raise AttributeError(f"module 'vfi' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
