"""Checkpoints of torch and safetensors: read, compared with a network before it takes memory, loaded strictly."""

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from vfi.errors import ArgumentError, UserError, require
from vfi.files.atomic import written_whole
from vfi.files.checkpoint_files import contents, kind_of

SHOWN = 4  # keys named in a sentence
DEPTH = 4  # keys under which tensors may lie
# What building a network of impossible sizes raises
NO_NETWORK = (ArithmeticError, AssertionError, MemoryError, RuntimeError, TypeError, ValueError)

Network = TypeVar("Network", bound=nn.Module)


def read(path: str | Path) -> dict[str, Tensor]:
    """A file's tensors by name, on the CPU, without the prefix `module.` that DataParallel adds.

    A checkpoint whose tensors lie under one key (`state_dict`, `model`, ...) is opened there. With any key beginning
    with `module.`, the others are left out, as the loaders of RIFE do.

    Raises:
        UserError: if the file cannot be read, holds anything but dense tensors of numbers, or tensors larger than
            itself.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentError(f"expected the name of a file, got {path!r}")
    path = Path(path)
    return tensors_of(contents(path), path)


def tensors_of(state: object, path: Path) -> dict[str, Tensor]:
    """The mapping of names to tensors in what a file held."""
    mapping = state
    for _ in range(DEPTH):
        if not isinstance(mapping, Mapping):
            break
        if {"network", "optimizer", "step"} <= set(mapping):
            raise UserError(f"{path} is the state of a training; its weights are in weights.safetensors beside it")
        tensors = {str(name): value for name, value in mapping.items() if isinstance(value, Tensor)}
        prefixed = {name.removeprefix("module."): v for name, v in tensors.items() if name.startswith("module.")}
        if tensors:
            return {name: value.detach() for name, value in (prefixed or tensors).items()}
        inner = [value for value in mapping.values() if isinstance(value, Mapping)]
        if len(inner) != 1:
            break
        mapping = inner[0]
    kind = type(state).__name__
    raise UserError(f"expected {path} to hold a state dict, names and tensors, got {kind}{_without_tensors(state)}")


def _without_tensors(state: object) -> str:
    """Why there are none in a mapping."""
    entered: list[object] = []
    while isinstance(state, Mapping):
        if len(entered) == DEPTH:
            return f" whose tensors, if it has any, lie under more than {DEPTH} keys"
        if not state:
            return " with nothing in it"
        if any(state is other for other in entered):
            return " that holds itself"
        entered.append(state)
        inner = [str(key) for key, value in state.items() if isinstance(value, Mapping)]
        if len(inner) > 1:
            return f" with {len(inner)} mappings side by side: {listed(inner)}"
        state = next((value for value in state.values() if isinstance(value, Mapping)), None)
    return ""


def check(
    model: nn.Module,
    state: Mapping[str, Tensor],
    path: str | Path,
    missing: tuple[str, ...] = (),
    *,
    names: Callable[[str], str] = str,
    assign: bool = False,
) -> dict[str, Tensor]:
    """What `load_into` will load, by the model's keys, which may be on the meta device; raises as it does."""
    own = {names(key): value for key, value in model.state_dict().items()}
    lacking = [k for k in own if k not in state and not k.startswith(missing or ("\0",))]
    unknown = [k for k in state if k not in own]
    pairs = {k: (state[k], v) for k, v in own.items() if k in state}
    other = [f"{k} {tuple(a.shape)} instead of {tuple(b.shape)}" for k, (a, b) in pairs.items() if a.shape != b.shape]
    kinds = [
        f"{k} {kind_of(a)} instead of {kind_of(b)}"
        for k, (a, b) in pairs.items() if b.is_floating_point() and not a.is_floating_point()
    ]  # fmt: skip
    problems = {"keys missing": lacking, "keys unknown": unknown, "of another shape": other, "of another kind": kinds}
    told = [f"{len(keys)} {what}: {listed(keys)}" for what, keys in problems.items() if keys]
    if told:
        raise UserError(f"{path} does not fit {type(model).__name__}: {'; '.join(told)}")
    for key, (value, wanted) in pairs.items():
        converted(value, value.dtype if assign else wanted.dtype, key, f"{path} does not fit {type(model).__name__}")
    places = {key: names(key) for key in model.state_dict()}
    return {key: state[name] for key, name in places.items() if name in state}


def listed(names: list[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"


def converted(value: Tensor, dtype: torch.dtype, key: str, blame: str) -> Tensor:
    """`value` as `dtype`; its numbers must be finite, before and after."""
    result = value.to(dtype)
    if not result.isfinite().all():
        what = f"too large for {kind_of(result)}" if value.isfinite().all() else "that are not finite"
        raise UserError(f"{blame}: values {what} in {key}")
    return result


def load_into(
    model: nn.Module,
    state: Mapping[str, Tensor],
    path: str | Path,
    missing: tuple[str, ...] = (),
    *,
    names: Callable[[str], str] = str,
    assign: bool = False,
) -> None:
    """Loads every parameter, or none; those that begin with one of `missing` may be absent.

    Args:
        names: the name in `state` of each of the model's keys.
        assign: the tensors of `state` become the parameters, and are not copied into those that are there.

    Raises:
        UserError: naming keys that are missing, not known, of another shape, whole numbers in place of real ones, or
            with values that are not finite in the model's dtype.
    """
    fitting = check(model, state, path, missing, names=names, assign=assign)
    model.load_state_dict(fitting, strict=not missing, assign=assign)


def built(
    make: Callable[[], Network], state: Mapping[str, Tensor], path: str | Path, missing: tuple[str, ...] = ()
) -> Network:
    """The network that `make` builds of sizes read off `state`, with it loaded; compared before it takes memory."""
    try:
        fitting = check(without_memory(make), state, path, missing)
    except NO_NETWORK as error:
        raise UserError(f"there is no network of the sizes in {path}") from error
    model = make()
    model.load_state_dict(fitting, strict=not missing)
    return model


def without_memory(make: Callable[[], Network]) -> Network:
    """The network on the meta device; one of NO_NETWORK if there is none of these sizes."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers without channels
        return make()


def save(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Writes safetensors, whole or not at all."""
    with written_whole(Path(path), lasting=True) as temporary:
        kept = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        temporary.write_bytes(require("safetensors.torch").save(kept))  # save_file would hide it from other users
