"""Interpolation models by name, and how the rest of the package talks to them."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from vfi_models.errors import UserError


class Interpolator(Protocol):
    """What every model offers.

    A model may also have `interpolate_many(frame0, frame1, times)`, when several times share work, and
    `explain(frame0, frame1, t)`, for the pictures of flow and holes.
    """

    channel_order: str  # "rgb" or "bgr"

    def interpolate(self, frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        """Frames (B, 3, H, W) in [0, 1], in the model's channel order -> the frame at t in [0, 1]."""


@dataclass(frozen=True)
class ModelEntry:
    """Where a model is made: `factory` of `module`, called with the weights' path if it takes weights."""

    module: str
    factory: str
    summary: str
    takes_weights: bool = True


MODELS = {
    "flow-splat": ModelEntry(
        "vfi_models.flow_splat", "FlowSplat", "optical flow and softmax splatting, no weights", takes_weights=False
    ),
}


def load_model(name: str, weights: str | None = None, device: str = "cpu") -> Interpolator:
    """The model called `name`, ready to interpolate on `device`."""
    if name not in MODELS:
        raise UserError(f"unknown model {name!r}; known models: {', '.join(MODELS)}")
    entry = MODELS[name]
    if weights is not None and not entry.takes_weights:
        raise UserError(f"the model {name} has no weights, so --weights cannot be used with it")
    factory = getattr(importlib.import_module(entry.module), entry.factory)
    model: Any = factory(weights) if entry.takes_weights else factory()
    if hasattr(model, "eval"):
        model = model.to(device).eval()
    return model


def choose_device(name: str | None) -> str:
    """`name` if it can be used; without a name, CUDA where there is one, else the CPU."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"the device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return name


def interpolate_many(model: Interpolator, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[Tensor]:
    """RGB frames at several times between two RGB frames, whatever the model's channel order."""
    first, second = _reordered(model, frame0), _reordered(model, frame1)
    if hasattr(model, "interpolate_many"):
        results = model.interpolate_many(first, second, times)
    else:
        results = [model.interpolate(first, second, t) for t in times]
    return [_reordered(model, result) for result in results]


def _reordered(model: Interpolator, frame: Tensor) -> Tensor:
    """RGB to the model's order, or back: both swap the outer channels."""
    return frame.flip(1) if model.channel_order == "bgr" else frame
