"""Folders of diffusers' pipelines, and how loudly their libraries speak."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path

import diffusers
import transformers
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.models.modeling_utils import no_init_weights
from torch import nn
from transformers import PreTrainedModel

from vfi.errors import ArgumentError, UserError
from vfi.files import checkpoints
from vfi.files.checkpoint_files import kind_of, listed_in
from vfi.networks.wan.files import from_json, weight_files

INDEX = "model_index.json"
LIBRARIES = ("diffusers", "transformers", "vfi")
DTYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "U8"}  # of safetensors


def held_by(folder: Path, wanted: str) -> None:
    """Says so if a folder holds another pipeline than `wanted`.

    Raises:
        UserError: if it does, or has no index that can be read.
    """
    if not (folder / INDEX).is_file():
        raise UserError(f"expected a folder with {INDEX}, as {wanted}.save_pretrained writes it, got {folder}")
    try:
        name = json.loads((folder / INDEX).read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{folder} cannot be read as {wanted}: its {INDEX} is damaged") from error
    if name != wanted:
        raise UserError(f"{folder} holds {name}, not {wanted}")


def check_networks(folder: Path) -> None:
    """Each network of a pipeline's folder is the one whose weights lie there; from_pretrained would make up what lacks.

    Raises:
        UserError: if one is not, or the index names a class of another library.
    """
    for name, place in from_json(folder / INDEX).items():
        if not isinstance(place, list) or not all(isinstance(part, str) for part in place) or len(place) != 2:
            continue
        if place[0].partition(".")[0] not in LIBRARIES:
            raise UserError(f"{folder / INDEX} names {'.'.join(place)}: expected a class of {', '.join(LIBRARIES)}")
        try:
            kind = getattr(importlib.import_module(place[0]), place[1])
        except (AttributeError, ImportError) as error:
            raise UserError(f"{folder / INDEX} names {'.'.join(place)}, which there is not") from error
        if isinstance(kind, type) and issubclass(kind, nn.Module):
            check_network(folder / name, kind)


def check_network(
    folder: Path, kind: type[ModelMixin] | type[PreTrainedModel], files: Sequence[Path] | None = None
) -> None:
    """Compares what config.json asks for with what the files hold, before memory is taken. files: None: all of them."""
    held, count = 0, 0
    for file in weight_files(folder) if files is None else files:
        for name, dtype, size in listed_in(file):
            if dtype not in DTYPES:
                raise UserError(f"expected real numbers in {file}, but {name} is {dtype}")
            held, count = held + size, count + 1
    try:
        settings = from_json(folder / "config.json")
    except UserError as error:
        raise UserError(f"{folder} cannot be read: {error}") from error
    most = [value for key, value in settings.items() if "layers" in key for value in _numbers(value)]
    if max(most, default=0) > count:
        raise UserError(f"{folder} asks for {max(most)} layers, but its files hold {count} tensors")
    try:
        with no_init_weights():
            network = checkpoints.without_memory(lambda: _made(kind, folder))
        wanted = sum(parameter.numel() for parameter in network.parameters())
    except (*checkpoints.NO_NETWORK, AttributeError, KeyError, OSError) as error:
        raise UserError(f"config.json in {folder} describes no {kind.__name__}") from error
    if wanted > held:
        raise UserError(f"{folder} describes a network of {wanted:,} numbers, but its files hold {held:,}")


def _numbers(value: object) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [number for number in values if type(number) is int]


def _made(kind: type[ModelMixin] | type[PreTrainedModel], folder: Path) -> nn.Module:
    if issubclass(kind, PreTrainedModel):
        network: nn.Module = kind(kind.config_class.from_pretrained(str(folder), local_files_only=True))
        return network
    assert issubclass(kind, ModelMixin)
    network = kind.from_config(kind.load_config(str(folder), local_files_only=True))
    return network


def check_values(pipeline: DiffusionPipeline, folder: str | Path) -> None:
    """Its weights are finite, in the dtypes they are used in.

    Raises:
        UserError: naming one that is not.
    """
    for name, part in pipeline.components.items():
        for key, value in part.named_parameters() if isinstance(part, nn.Module) else ():
            if not value.isfinite().all():
                kind = kind_of(value)
                raise UserError(f"{folder} holds values that are not finite as {kind} in {name}.{key}")


def is_whole(weights: str | Path, backbone: str | Path | None, model: str, part: str) -> bool:
    """Whether `weights` is the folder of a whole model; else it is a file of a `part` of it, beside the backbone.

    Raises:
        UserError: if there is no such file or folder, or if a folder comes with a backbone.
    """
    folder = Path(weights)
    if not folder.exists():
        raise ArgumentError(f"expected `weights` to be a file or a folder, but {weights} does not exist")
    if folder.is_dir() and backbone is not None:
        if not (folder / INDEX).is_file():
            raise ArgumentError(f"expected a file of weights beside `backbone`, got {weights}, a folder")
        raise ArgumentError(f"{weights} holds a whole {model}: give `backbone` with a file of {part} only")
    return folder.is_dir()


def quieted() -> None:
    """Neither bars while parts are loaded nor notes on what is not asked for."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
