"""Checkpoints of torch and safetensors: read without running anything in them, loaded strictly."""

import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vfi_models.errors import UserError, require

SHOWN = 4  # keys named in a sentence


def read(path: str | Path) -> dict[str, Tensor]:
    """A file's tensors by name, on the CPU, without the prefix `module.` that DataParallel adds.

    A checkpoint whose tensors lie under one key (`state_dict`, `model`, ...) is opened there. With any key beginning
    with `module.`, the others are left out, as the loaders of RIFE do.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"expected a checkpoint, got {path}, which is no file")
    try:
        state: object = from_safetensors(path) if path.suffix == ".safetensors" else from_torch(path)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, OSError) as error:
        # torch's own text advises what the user of a command cannot follow, and should not
        objects = "Weights only load failed" in str(error)
        reason = "it holds more than tensors (save net.state_dict())" if objects else "it is damaged, or something else"
        raise UserError(f"{path} is not a checkpoint that can be read safely: {reason}") from error
    return tensors_of(state, path)


def from_torch(path: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def from_safetensors(path: Path) -> object:
    library = require("safetensors.torch")
    try:
        return library.load_file(os.fspath(path))
    except require("safetensors").SafetensorError as error:
        raise ValueError(str(error)) from error


def tensors_of(state: object, path: Path) -> dict[str, Tensor]:
    """The mapping of names to tensors in what a file held."""
    if isinstance(state, Mapping):
        if {"network", "optimizer", "step"} <= set(state):
            raise UserError(f"{path} is the state of a training; its weights are in weights.safetensors beside it")
        tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
        prefixed = {name.removeprefix("module."): v for name, v in tensors.items() if name.startswith("module.")}
        if tensors:
            return prefixed or tensors
        inner = [value for value in state.values() if isinstance(value, Mapping)]
        if len(inner) == 1:
            return tensors_of(inner[0], path)
    raise UserError(f"expected {path} to hold a state dict, names and tensors, got {type(state).__name__}")


def load_into(
    model: nn.Module,
    state: Mapping[str, Tensor],
    path: str | Path,
    missing: tuple[str, ...] = (),
    *,
    names: Callable[[str], str] = str,
    assign: bool = False,
) -> None:
    """Loads every parameter; those that begin with one of `missing` may be absent.

    Args:
        names: the name in `state` of each of the model's keys.
        assign: the tensors of `state` become the parameters, and are not copied into those that are there.

    Raises:
        UserError: naming keys that are missing, not known, of another shape, or with values that are not finite.
    """
    places = {key: names(key) for key in model.state_dict()}
    own = {places[key]: value for key, value in model.state_dict().items()}
    lacking = [k for k in own if k not in state and not k.startswith(missing or ("\0",))]
    unknown = [k for k in state if k not in own]
    other = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(v.shape)}"
        for k, v in own.items() if k in state and state[k].shape != v.shape
    ]  # fmt: skip
    problems = [
        f"{len(found)} {what}: {', '.join(found[:SHOWN])}{', ...' if len(found) > SHOWN else ''}"
        for what, found in (("keys missing", lacking), ("keys unknown", unknown), ("of another shape", other))
        if found
    ]
    if not problems and (bad := [k for k in own if k in state and not state[k].isfinite().all()]):
        problems = [f"values that are not finite in {', '.join(bad[:SHOWN])}"]
    if problems:
        raise UserError(f"{path} does not fit {type(model).__name__}: {'; '.join(problems)}")
    found = {key: state[name] for key, name in places.items() if name in state}
    model.load_state_dict(found, strict=not missing, assign=assign)
