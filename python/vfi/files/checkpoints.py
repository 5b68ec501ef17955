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
# Words before every name, of what held the network; torch.compile puts its own before any word
WRAPPERS, COMPILED = ("module", "model", "flownet", "net", "network", "ema", "state_dict"), "_orig_mod."
# What building a network of impossible sizes raises
NO_NETWORK = (ArithmeticError, AssertionError, MemoryError, RuntimeError, TypeError, ValueError)

Network = TypeVar("Network", bound=nn.Module)


def read(path: str | Path) -> dict[str, Tensor]:
    """A file's tensors by name, on the CPU, without the prefixes that DataParallel, torch.compile and modules that hold
    the network add.

    A checkpoint whose tensors lie under one key (`state_dict`, `model`, ...) is opened there, also beside the state of
    an optimizer and settings. With any key beginning with `module.`, the others are left out, as RIFE's loaders do.

    Raises:
        UserError: if the file cannot be read, holds anything but dense tensors of numbers, tensors larger than itself,
            or two copies of a network.
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
        if tensors:
            return {name: tensors[long].detach() for name, long in _without_wrappers(list(tensors), path).items()}
        inner = [value for value in mapping.values() if isinstance(value, Mapping) and not _beside_weights(value)]
        if len(inner) != 1:
            break
        mapping = inner[0]
    kind = type(state).__name__
    raise UserError(f"expected {path} to hold a state dict, names and tensors, got {kind}{_without_tensors(state)}")


def _beside_weights(mapping: Mapping[object, object]) -> bool:
    """Whether it is the state of an optimizer, or settings: what a training keeps with the weights."""
    optimizer = {"state", "param_groups"} <= set(mapping)
    return optimizer or (bool(mapping) and all(isinstance(v, (int, float, str, type(None))) for v in mapping.values()))


def _without_wrappers(names: list[str], path: Path) -> dict[str, str]:
    """Each name without what wrappers put before it, and with it.

    Raises:
        UserError: if two are the same then: the file holds a network twice.
    """
    bare: dict[str, str] = {}
    for name in names:
        first = bare.setdefault(_bare(name), name)
        if first != name:
            raise UserError(f"expected one copy of each tensor in {path}, got two of {_bare(name)}: {first} and {name}")
    short = {name.replace(COMPILED, ""): name for name in names}
    while True:
        parallel = {name.removeprefix("module."): long for name, long in short.items() if name.startswith("module.")}
        words = {name.partition(".")[0] if "." in name else "" for name in short}
        if parallel:
            short = parallel
        elif len(words) == 1 and words <= set(WRAPPERS):
            short = {name.partition(".")[2]: long for name, long in short.items()}
        else:
            return short


def _bare(name: str) -> str:
    """Without any word of wrappers at its begin."""
    name = name.replace(COMPILED, "")
    while (parts := name.partition("."))[0] in WRAPPERS and parts[2]:
        name = parts[2]
    return name


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
    called: str = "",
) -> dict[str, Tensor]:
    """What `load_into` will load, by the model's keys, which may be on the meta device; raises as it does."""
    blame = f"{path} does not fit {called or getattr(model, 'called', 'the network')}"
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
        raise UserError(f"{blame}: {'; '.join(told)}")
    for key, (value, wanted) in pairs.items():
        converted(value, value.dtype if assign else wanted.dtype, key, blame)
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
    called: str = "",
) -> None:
    """Loads every parameter, or none; those that begin with one of `missing` may be absent.

    Args:
        names: the name in `state` of each of the model's keys.
        assign: the tensors of `state` become the parameters, and are not copied into those that are there.
        called: the network, in sentences; "": as its attribute `called` says.

    Raises:
        UserError: naming keys that are missing, not known, of another shape, whole numbers in place of real ones, or
            with values that are not finite in the model's dtype.
    """
    fitting = check(model, state, path, missing, names=names, assign=assign, called=called)
    model.load_state_dict(fitting, strict=not missing, assign=assign)


def counts_left_out(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with the model's own counts of training steps in normalisations, which early files do not have."""
    counts = {key: value for key, value in model.state_dict().items() if key.endswith(".num_batches_tracked")}
    return {**counts, **state}


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


def notes(path: Path) -> dict[str, str]:
    """What a file that could be read says of itself, beside its tensors; of torch's files nothing."""
    if path.suffix != ".safetensors":
        return {}
    with require("safetensors").safe_open(str(path), "pt") as file:
        return dict(file.metadata() or {})


def save(path: str | Path, state: Mapping[str, Tensor], notes: Mapping[str, str] | None = None) -> None:
    """Writes safetensors, whole or not at all. notes: what the file says of itself, in the order of their names."""
    with written_whole(Path(path), lasting=True) as temporary:
        kept = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        told = dict(sorted(notes.items())) if notes else None
        temporary.write_bytes(require("safetensors.torch").save(kept, told))  # save_file would hide it from others
