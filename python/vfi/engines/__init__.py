"""What runs a model's network: torch in the precision that the machine is fast at, Inductor, OpenVINO, onnxruntime,
TensorRT. `vfi.load_model(..., engine=..., precision=...)` uses them; docs/engines.md says which to choose."""

from typing import TYPE_CHECKING

from vfi.engines.names import ENGINES, PRECISIONS

if TYPE_CHECKING:
    from vfi.engines.choice import Choice, chosen
    from vfi.engines.machine import Machine
    from vfi.engines.plans import EngineFailed, Plan, built, plans

__all__ = ["ENGINES", "PRECISIONS", "Choice", "EngineFailed", "Machine", "Plan", "built", "chosen", "plans"]
PLACES = {"Choice": "choice", "chosen": "choice", "Machine": "machine"}


def __getattr__(name: str) -> object:
    """What needs torch is loaded when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{PLACES.get(name, 'plans')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
