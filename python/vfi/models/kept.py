"""Models that stay loaded, for who asks for the same one again and again."""

import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock

import torch
from torch import nn

from vfi.errors import ArgumentError
from vfi.models.around import Around
from vfi.models.devices import choose_device
from vfi.models.interpolator import Interpolator
from vfi.models.registry import load_model

_MOST = 2  # models: the one in use, and the one it is compared with
_kept: "OrderedDict[object, tuple[Interpolator, Lock]]" = OrderedDict()
_loading = Lock()


def kept_model(
    name: str, weights: str | Path | None, device: str | torch.device | None, **options: object
) -> tuple[Interpolator, Lock]:
    """The model as `load_model` gives it, loaded once while nothing of it changes, and a lock: one frame at a time."""
    place = choose_device(device)
    given = sorted((key, repr(value)) for key, value in options.items() if value is not None)
    key = (name, *_state(weights), place, *given)
    with _loading:
        found = _kept.get(key)
        if found is None:
            found = load_model(name, weights, place, **options), Lock()  # type: ignore[arg-type]
            _kept[key] = found
            while len(_kept) > _MOST:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
    return found


def placed(model: Interpolator, device: str | torch.device | None, **given: object) -> str:
    """Where the frames of a model have to be that is loaded already; `device` if it does not matter to the model.

    Raises:
        ArgumentError: if anything is given that is chosen when a model is loaded.
    """
    for name, value in given.items():
        if value is not None:
            raise ArgumentError(f"`{name}` is for a model that is named; this one is loaded already")
    inner = model
    while isinstance(inner, Around):
        inner = inner.model
    first = next(inner.parameters(), None) if isinstance(inner, nn.Module) else None
    return choose_device(device if first is None else first.device)


def _state(weights: object) -> tuple[object, ...]:
    """Which file it is, and which it was when it was read."""
    if not isinstance(weights, (str, os.PathLike)):
        return (repr(weights),)  # which load_model looks at
    try:
        found = os.stat(weights)
    except (OSError, ValueError):
        return (str(weights),)
    return str(weights), found.st_ino, found.st_size, found.st_mtime_ns
