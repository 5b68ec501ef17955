"""Where the parts of Wan lie on the disk, and how a part becomes a network."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vfi.errors import UserError, dtype_name, require
from vfi.files import checkpoints

PUBLISHED = {
    "transformer": "diffusion_pytorch_model.safetensors",
    "vae": "Wan2.1_VAE.pth",
    "text_encoder": "models_t5_umt5-xxl-enc-bf16.pth",
    "image_encoder": "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
}
INDEX = ".index.json"  # after the name of a file in shards: which of them holds which tensor
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_LARGEST = 1 << 20  # of a number in config.json


@dataclass(frozen=True)
class Parts:
    """Paths that the loaders of the same names take."""

    transformer: Path
    vae: Path
    text_encoder: Path
    image_encoder: Path


def find(folder: str | Path, text_encoder: bool = True) -> Parts:
    """The four parts in a folder: Wan's published files by their names, or the subfolders of diffusers.

    text_encoder: False: its file may be missing.

    Raises:
        UserError: naming what is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"expected a folder with the files of Wan 2.1, got {folder}, which is no folder")
    places: dict[str, Path] = {}
    for part, name in PUBLISHED.items():
        if (folder / part).is_dir():
            places[part] = folder / part
        elif (folder / name).is_file():
            places[part] = folder / name
        elif (folder / (name + INDEX)).is_file():
            places[part] = folder
    if not text_encoder:
        places.setdefault("text_encoder", folder / PUBLISHED["text_encoder"])
    lacking = [f"{name} (or the folder {part})" for part, name in PUBLISHED.items() if part not in places]
    if lacking:
        raise UserError(f"the files of Wan 2.1 in {folder} are not complete: {', '.join(lacking)} is missing")
    return Parts(**places)


@dataclass(frozen=True)
class Stored:
    """A network as it lies on the disk: its tensors, and config.json where that belongs to them."""

    path: Path
    what: str  # for messages
    state: dict[str, Tensor]
    settings: dict[str, Any]

    def shape(self, key: str, dimensions: int) -> torch.Size:
        """Of a tensor from which sizes are read."""
        if key not in self.state or self.state[key].dim() != dimensions:
            raise UserError(f"expected {self.path} to hold {self.what}, but it has no {key} of {dimensions} dimensions")
        return self.state[key].shape

    def count(self, prefix: str) -> int:
        """How many numbers follow `prefix` in the names."""
        return len({key.removeprefix(prefix).partition(".")[0] for key in self.state if key.startswith(prefix)})

    def whole(self, *names: str) -> int | None:
        """The first of these settings that is there."""
        for name in names:
            value = self.settings.get(name)
            if value is None:
                continue
            if type(value) is not int or not 0 < value < _LARGEST:
                raise UserError(f"expected {name} in config.json beside {self.path} to be a number, got {value!r:.40}")
            return value
        return None


def stored(path: str | Path, part: str, what: str) -> Stored:
    """A part from its file, from its folder, or from a folder with the subfolder `part`.

    config.json counts for a folder, and beside a transformer's file; beside other files it may be another part's.
    """
    path = Path(path)
    if (path / part).is_dir():
        path = path / part
    state: dict[str, Tensor] = {}
    for file in weight_files(path):
        more = checkpoints.read(file)
        if twice := state.keys() & more.keys():
            raise UserError(f"expected each tensor once in {path}, but {min(twice)} is in several files")
        state.update(more)
    folder = path if path.is_dir() else path.parent
    own = path.is_dir() or part == "transformer"
    return Stored(path, what, state, from_json(folder / "config.json") if own else {})


def weight_files(path: Path) -> list[Path]:
    """The file itself; of a folder the one file of weights, or its shards."""
    if not path.is_dir():
        return [path]
    names = ("diffusion_pytorch_model.safetensors", "model.safetensors")
    for name in names:
        if (path / name).is_file():
            return [path / name]
        index = path / (name + INDEX)
        if index.is_file():
            places = from_json(index).get("weight_map")
            shards = set(places.values()) if isinstance(places, dict) else set()
            if not shards or not all(isinstance(s, str) and s.endswith(".safetensors") for s in shards):
                raise UserError(f"expected {index} to say which .safetensors file holds which tensor")
            if outside := [s for s in shards if Path(s).name != s or "\\" in s]:
                raise UserError(f"{index} names {outside[0]}: expected files of its own folder")
            return [path / shard for shard in sorted(shards)]
    raise UserError(f"expected {names[0]} or {names[1]} in {path}, or either in shards with its {INDEX}")


def from_json(path: Path) -> dict[str, Any]:
    """Empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path}: it is damaged, or no JSON") from error
    if not isinstance(content, dict):
        raise UserError(f"expected {path} to hold names and values, got {type(content).__name__}")
    return content


def filled(
    make: Callable[[], nn.Module],
    files: Stored,
    dtype: torch.dtype | None,
    names: Callable[[str], str] = str,
) -> Any:
    """The network that `make` builds, with the stored tensors themselves as its parameters, in eval mode.

    Args:
        dtype: of the result; None: as they are stored. What diffusers keeps in float32 is float32 in any case.
        names: the stored name of each of the network's keys.
    """
    for key, value in files.state.items():
        if value.dtype not in DTYPES:
            raise UserError(
                f"expected float32, float16 or bfloat16 in {files.path}, but {key} is {dtype_name(value.dtype)}"
            )
    without_values = require("accelerate", "diffusion").init_empty_weights(include_buffers=False)
    try:
        with require("diffusers.models.modeling_utils", "diffusion").no_init_weights():
            checkpoints.check(
                checkpoints.without_memory(make), files.state, files.path, names=names, assign=True, called=files.what
            )
            with without_values:
                network = make()  # whose buffers take memory
    except checkpoints.NO_NETWORK as error:
        raise UserError(f"the sizes in {files.path} are not those of {files.what}") from error
    exact = {names(key) for key in network.state_dict() if set(key.split(".")) & kept_exact(network)}
    for key, value in files.state.items():
        kind = torch.float32 if key in exact else dtype or value.dtype
        files.state[key] = checkpoints.converted(value, kind, key, f"{files.path} does not fit {files.what}")
    checkpoints.load_into(network, files.state, files.path, names=names, assign=True, called=files.what)
    return network.eval()


def kept_exact(network: nn.Module) -> set[str]:
    """Names of modules and parameters that diffusers keeps in float32."""
    is_of_diffusers = type(network).__module__.startswith("diffusers.")
    return set(getattr(network, "_keep_in_fp32_modules", None) or []) if is_of_diffusers else set()
