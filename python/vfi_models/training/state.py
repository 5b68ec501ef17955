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
    if resume and overwrite:
        raise UserError("give only one of --resume and --overwrite")
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
        temporary.write_bytes(require("safetensors.torch").save(kept))  # save_file would hide it from other users


def read(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The state of `write`; it must be of a training with these settings."""
    path = folder / STATE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        before = state["settings"]
        lacking = {"network", "optimizer", "scaler", "ema", "step", "meter"} - set(state)
    except Exception as error:  # damaged files fail in many ways
        raise UserError(f"{path} is damaged, or not the state of a training") from error
    if lacking:
        raise UserError(f"{path} is not the state of a training: it lacks {', '.join(sorted(lacking))}")
    for name, value in settings.items():
        if before.get(name) != value:
            raise UserError(f"{path} was trained with {name} {before.get(name)}, not {value}; take another folder")
    return state


def cut_log(folder: Path, step: int) -> None:
    """Leaves the records up to a step: what a training that was killed wrote after its state is written again."""
    path, kept = folder / LOG, []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue  # half a line
    with written_whole(path) as temporary:
        temporary.write_text("".join(kept))


def log(folder: Path, record: Mapping[str, Any]) -> None:
    """A line of JSON more."""
    with (folder / LOG).open("a") as file:
        file.write(json.dumps(record) + "\n")
