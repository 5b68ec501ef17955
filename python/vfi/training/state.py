"""What a training leaves in its folder, and how it goes on from there."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vfi.errors import ArgumentError, UserError
from vfi.files import checkpoints
from vfi.files.atomic import alone_in, cannot_write, remove_unfinished, written_whole
from vfi.files.checkpoint_files import contents, tensors_within

STATE, WEIGHTS, LOG = "last.pt", "weights.safetensors", "log.jsonl"
DAMAGED = "damaged, or not the state of a training"


@contextmanager
def prepared(folder: Path, resume: bool, overwrite: bool) -> Iterator[None]:
    """The folder, for this process alone, without what killed ones left unfinished.

    Raises:
        UserError: if another training is at work there, if there is one and this begins anew, or none to resume.
    """
    check(folder, resume, overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror or error}") from error
    with alone_in(folder, "training"):
        check(folder, resume, overwrite)  # another one may have ended meanwhile
        try:
            remove_unfinished(folder, (STATE, WEIGHTS, LOG))
            if not resume:
                for name in (STATE, WEIGHTS, LOG):
                    (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot write into {folder}: {error.strerror or error}") from error
        yield


def check(folder: Path, resume: bool, overwrite: bool) -> None:
    """Refuses to begin anew over a training that is there, or to resume one that is not."""
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"expected a folder for the training, got {folder}, which is a file")
        there = (folder / STATE).is_file()
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror or error}") from error
    if resume and overwrite:
        raise ArgumentError("give only one of `resume` and `overwrite`")
    if resume and not there:
        raise UserError(f"there is nothing to resume: {folder / STATE} does not exist")
    if there and not resume and not overwrite:
        raise ArgumentError(f"{folder} holds a training already; add `resume` to go on, or `overwrite` to begin anew")


def write(
    folder: Path, state: Mapping[str, object], weights: Mapping[str, Tensor], notes: Mapping[str, str] | None = None
) -> None:
    """The weights, to use, and the whole state, to go on from; either appears whole or stays what it was.

    The weights come first: a state that is there has its weights.
    """
    checkpoints.save(folder / WEIGHTS, weights, notes)
    with written_whole(folder / STATE, lasting=True) as temporary, temporary.open("wb") as file:
        try:
            torch.save(dict(state), file)
        except RuntimeError as error:  # what torch makes of an OSError
            raise error.__context__ if isinstance(error.__context__, OSError) else OSError(str(error)) from error


def read(folder: Path, settings: Mapping[str, object]) -> dict[str, Any]:
    """The state of `write`; it must be of a training with these settings."""
    path = folder / STATE
    state = contents(path, DAMAGED)
    for _, tensor in tensors_within(state):
        # What is read is mapped, and would keep the file on the disk after the next one has its name
        tensor.data = tensor.detach().clone()
    wanted = {"settings", "network", "optimizer", "scaler", "ema", "step", "meter"}
    lacking = wanted - set(state) if isinstance(state, dict) else wanted
    if not isinstance(state, dict) or lacking:
        raise UserError(f"{path} is not the state of a training: it lacks {', '.join(sorted(lacking))}")
    before = state["settings"]
    for name, value in settings.items():
        if not isinstance(before, dict) or before.get(name) != value:
            got = before.get(name) if isinstance(before, dict) else None
            raise UserError(f"{path} was trained with {name} {got}, not {value}; take another folder")
    return state


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """By which a network's state is known."""
    return {name: value.shape for name, value in tensors.items()}


def cut_log(folder: Path, step: int) -> None:
    """Leaves the records up to a step: what a training that was killed wrote after its state is written again."""
    path, kept = folder / LOG, []
    try:
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    for line in lines:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # half a line
    with written_whole(path, lasting=True) as temporary:
        temporary.write_text("".join(kept))


def log(folder: Path, record: Mapping[str, object]) -> None:
    """A line of JSON more."""
    try:
        with (folder / LOG).open("a") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise cannot_write(folder / LOG, error) from error
