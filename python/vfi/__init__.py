"""Video frame interpolation: models by name, and the `vfi` command.

`load_model(name, weights=None, device="cpu", **options)` -> an `Interpolator`; `MODELS` says which there are.
"""

from typing import TYPE_CHECKING

from vfi.models.registry import MODELS, load_model

if TYPE_CHECKING:
    from vfi.models.interpolator import Interpolator

__all__ = ["MODELS", "Interpolator", "load_model"]


def __getattr__(name: str) -> object:
    """`Interpolator` is loaded when it is asked for: `vfi --help` needs no torch."""
    if name != "Interpolator":
        raise AttributeError(f"module 'vfi' has no attribute {name!r}; it has {', '.join(__all__)}")
    from vfi.models.interpolator import Interpolator

    return Interpolator


def __dir__() -> list[str]:
    return sorted(__all__)
