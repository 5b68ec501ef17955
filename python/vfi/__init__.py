"""Video frame interpolation: from Python, models by name, and the `vfi` command.

`interpolate("in.mp4", "out.mp4", factor=2)` writes a smoother video, `frames("in.mp4", fps=60)` gives its frames one
after the other, `between(frame0, frame1, 0.5)` makes frames of numpy arrays, PIL images and tensors.

`load_model(name, weights=None, device="cpu", **options)` -> an `Interpolator`; `MODELS` says which there are. What is
wrong with an argument is an `ArgumentError`, which is a `vfi_kernels.ArgumentError` and a `UserError`, as everything
is that a user can put right.
"""

import importlib
from typing import TYPE_CHECKING

from vfi.errors import UserError
from vfi.models.registry import MODELS, load_model

if TYPE_CHECKING:
    from vfi.commands.from_python import frames, interpolate
    from vfi.errors.argument import ArgumentError
    from vfi.models.between import between
    from vfi.models.interpolator import Interpolator

__all__ = [
    "MODELS",
    "ArgumentError",
    "Interpolator",
    "UserError",
    "between",
    "frames",
    "interpolate",
    "load_model",
]

_LATE = {
    "ArgumentError": "errors.argument",
    "Interpolator": "models.interpolator",
    "between": "models.between",
    "frames": "commands.from_python",
    "interpolate": "commands.from_python",
}


def __getattr__(name: str) -> object:
    """What needs torch is loaded when it is asked for: `vfi --help` does without."""
    if name in _LATE:
        return getattr(importlib.import_module(f"vfi.{_LATE[name]}"), name)
    raise AttributeError(f"module 'vfi' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
