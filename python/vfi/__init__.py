"""Video frame interpolation: models by name, and the `vfi` command.

`load_model(name, weights=None, device="cpu", **options)` -> an `Interpolator`; `MODELS` says which there are.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vfi.models.registry import MODELS, Interpolator, load_model

__all__ = ["MODELS", "Interpolator", "load_model"]


def __getattr__(name: str) -> Any:
    """Loaded when it is asked for: `vfi --help` needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module 'vfi' has no attribute {name!r}; it has {', '.join(__all__)}")
    from vfi.models import registry

    return getattr(registry, name)


def __dir__() -> list[str]:
    return sorted(__all__)
