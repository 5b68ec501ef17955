"""Files of adapters: semfi.ckpt with the names of SemFi, ours, and PEFT's."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vfi_models import checkpoints
from vfi_models.errors import UserError
from vfi_models.outputs import check_target, written_whole
from vfi_models.semfi.mixture import SemFiTransformer

# SemFi's name of each layer of a block: its own, and `lora_` before the last part.
NAMES = {
    **{f"attn{n}.to_{p}": f"{kind}_attn.lora_{p}" for n, kind in ((1, "self"), (2, "cross")) for p in "qkv"},
    "attn1.to_out.0": "self_attn.lora_o",
    "attn2.to_out.0": "cross_attn.lora_o",
    "ffn.net.0.proj": "lora_ffn_0",
    "ffn.net.2": "lora_ffn_2",
}
OURS = {theirs: ours for ours, theirs in NAMES.items()}
_OURS = re.compile(r"(blocks\.\d+)\.(.+)\.adapters\.(\d+)\.(lora_[AB]\.(?:weight|bias))")
_THEIRS = re.compile(r"(blocks\.\d+)\.(.+)\.(\d+)\.(lora_[AB]\.(?:weight|bias))")
PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"


def adapter_state(transformer: SemFiTransformer) -> dict[str, Tensor]:
    """All adapters, by our names."""
    return {key: value for key, value in transformer.state_dict().items() if ".adapters." in key}


def semfi_name(ours: str) -> str:
    """SemFi's name of one of our tensors."""
    found = _OURS.fullmatch(ours)
    if found is None or found[2] not in NAMES:
        raise ValueError(f"expected a tensor of an adapter, got {ours}")
    return f"{found[1]}.{NAMES[found[2]]}.{found[3]}.{found[4]}"


def our_name(theirs: str) -> str | None:
    """Ours of one of SemFi's; None: it is no adapter's."""
    found = _THEIRS.fullmatch(theirs)
    if found is None or found[2] not in OURS:
        return None
    return f"{found[1]}.{OURS[found[2]]}.adapters.{found[3]}.{found[4]}"


def load_adapters(transformer: SemFiTransformer, path: str | Path) -> None:
    """Reads adapters into a transformer: semfi.ckpt, or what a training wrote.

    Raises:
        UserError: if the file holds no adapters, or not those of this transformer, all of them.
    """
    state = checkpoints.read(path)
    named = {our_name(key) or key: value for key, value in state.items()}
    chosen = {key: value for key, value in named.items() if _OURS.fullmatch(key)}
    if not chosen:
        raise UserError(f"expected adapters of SemFi in {path}, such as blocks.0.self_attn.lora_q.0.lora_A.weight")
    rest = [key for key in named if key not in chosen]
    if rest:
        raise UserError(f"expected adapters of SemFi alone in {path}, got {len(rest)} others, such as {rest[0]}")
    put(transformer, chosen, path)


def put(transformer: SemFiTransformer, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Adapters by our names into the transformer, in whatever mode it is."""
    frames, mode = transformer.config.frame_counts[transformer.expert - 1], transformer.mode
    if mode == "merged":
        transformer.set_frames(frames, "fused")  # merged weights would hold the adapters before
    try:
        checkpoints.load_into(Adapters(transformer), state, path)
    finally:
        transformer.set_frames(frames, mode)


class Adapters(torch.nn.Module):
    """The adapters of a transformer as a module of their own, with the names they have in it."""

    def __init__(self, transformer: SemFiTransformer) -> None:
        super().__init__()
        for name, layer in transformer.mixtures():
            place: torch.nn.Module = self
            for part in f"{name}.adapters".split(".")[:-1]:
                if part not in place._modules:
                    place.add_module(part, torch.nn.Module())
                place = place.get_submodule(part)
            place.add_module("adapters", layer.adapters)


def save_adapters(transformer: SemFiTransformer, path: str | Path) -> None:
    """Writes them with SemFi's names, as safetensors.

    Raises:
        UserError: if the name does not end in .safetensors, or cannot be written.
    """
    if Path(path).suffix != ".safetensors":
        raise UserError(f"expected a name that ends in .safetensors, got {path}")
    check_target(Path(path), overwrite=True)
    state = {semfi_name(key): value for key, value in adapter_state(transformer).items()}
    checkpoints.save(Path(path), state)


def export_peft(transformer: SemFiTransformer, folder: str | Path, base: str = "") -> list[Path]:
    """Writes each adapter as a folder of PEFT: `universal`, and `expert_5` and the like.

    PEFT's adapters have no bias inside: B (A x + a) + b becomes B A x + (B a + b), which is the same.

    Args:
        base: name or path of the base model, for adapter_config.json.

    Returns:
        The folders.
    """
    counts = transformer.config.frame_counts
    folders = []
    for number, name in enumerate(("universal", *(f"expert_{count}" for count in counts))):
        state: dict[str, Tensor] = {}
        for layer_name, layer in transformer.mixtures():
            adapter: Any = layer.adapters[number]
            key, (_, bias) = f"base_model.model.{layer_name}", adapter.change()
            state[f"{key}.lora_A.weight"] = adapter.lora_A.weight
            state[f"{key}.lora_B.weight"] = adapter.lora_B.weight
            state[f"{key}.lora_B.bias"] = bias.to(adapter.lora_B.bias.dtype)
        place = Path(folder) / name
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {place}: {error.strerror or error}") from error
        checkpoints.save(place / PEFT_WEIGHTS, state)
        config = peft_config(transformer.config.rank, base)
        with written_whole(place / PEFT_CONFIG, lasting=True) as temporary:
            temporary.write_text(json.dumps(config, indent=1))
        folders.append(place)
    return folders


def peft_config(rank: int, base: str) -> dict[str, Any]:
    """Of PEFT's LoraConfig."""
    ends = sorted({name.split(".", 1)[1] if name.startswith("attn") else name for name in NAMES})
    return {
        "peft_type": "LORA", "base_model_name_or_path": base, "r": rank, "lora_alpha": rank, "lora_bias": True,
        "target_modules": ends, "inference_mode": True, "bias": "none", "lora_dropout": 0.0, "task_type": None,
    }  # fmt: skip


def peft_scale(path: Path) -> float:
    """By which PEFT multiplies what an adapter gives.

    Raises:
        UserError: if the configuration is missing or is not that of a LoRA.
    """
    try:
        config = json.loads(path.read_text())
        rank, alpha = float(config["r"]), float(config["lora_alpha"])
        return alpha / (rank**0.5 if config.get("use_rslora") else rank)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise UserError(f"expected PEFT's configuration of a LoRA, with r and lora_alpha, in {path}") from error


def import_peft(transformer: SemFiTransformer, folder: str | Path) -> None:
    """Reads what `export_peft` wrote, or PEFT saved, into a transformer: all of its adapters, A without bias.

    B is multiplied by PEFT's scale, lora_alpha / r, or lora_alpha / sqrt(r) where use_rslora says so.

    Raises:
        UserError: if a folder is missing or is not of this transformer.
    """
    counts, state = transformer.config.frame_counts, {}
    for number, name in enumerate(("universal", *(f"expert_{count}" for count in counts))):
        path = Path(folder) / name / PEFT_WEIGHTS
        if not path.is_file():
            raise UserError(
                f"expected {PEFT_WEIGHTS} in the folders universal and expert_{counts[0]} ..., got no {path}"
            )
        found, scale = checkpoints.read(path), peft_scale(path.with_name(PEFT_CONFIG))
        for key, value in found.items():
            layer, _, kind = key.removeprefix("base_model.model.").rpartition(".lora_")
            state[f"{layer}.adapters.{number}.lora_{kind}"] = value * scale if kind.startswith("B") else value
            if kind == "A.weight":
                state[f"{layer}.adapters.{number}.lora_A.bias"] = value.new_zeros(len(value))
    put(transformer, state, folder)
