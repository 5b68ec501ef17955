"""What a training leaves in its folder, and how it goes on from there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vfi_models.errors import UserError, require
from vfi_models.outputs import written_whole

STATE, WEIGHTS, LOG = "last.pt", "weights.safetensors", "log.jsonl"


def prepare(folder: Path, resume: bool, overwrite: bool) -> None:
    """Makes the folder; refuses to begin anew over a training that is there, or to resume one that is not."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"expected a folder for the training, got {folder}, which is a file")
    there = (folder / STATE).is_file()
    if resume and not there:
        raise UserError(f"there is nothing to resume: {folder / STATE} does not exist")
    if there and not resume and not overwrite:
        raise UserError(f"{folder} holds a training already; add --resume to go on, or --overwrite to begin anew")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not resume:
            for name in (STATE, WEIGHTS, LOG):
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror or error}") from error


def write(folder: Path, state: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """The whole state, to go on from, and the weights, to use; either appears whole or stays what it was."""
    with written_whole(folder / STATE) as temporary:
        torch.save(dict(state), temporary)
    with written_whole(folder / WEIGHTS) as temporary:
        kept = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        require("safetensors.torch").save_file(kept, str(temporary))


def read(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The state of `write`; it must be of a training with these settings."""
    path = folder / STATE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        before = state["settings"]
        lacking = {"network", "optimizer", "scaler", "ema", "step"} - set(state)
    except Exception as error:  # damaged files fail in many ways
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0] if str(error) else error!r}") from error
    if lacking:
        raise UserError(f"{path} is not the state of a training: it lacks {', '.join(sorted(lacking))}")
    for name, value in settings.items():
        if before.get(name) != value:
            raise UserError(f"{path} was trained with {name} {before.get(name)}, not {value}; take another folder")
    return state


def log(folder: Path, record: Mapping[str, Any]) -> None:
    """A line of JSON more."""
    with (folder / LOG).open("a") as file:
        file.write(json.dumps(record) + "\n")
