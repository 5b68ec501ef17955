"""Folders of adapters as PEFT writes and reads them: one for each adapter of SemFi."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from vfi.errors import UserError
from vfi.files import checkpoints
from vfi.files.atomic import make_folder, written_whole
from vfi.models.semfi.files import NAMES, put
from vfi.models.semfi.mixture import Adapter, SemFiTransformer

PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
# Fields of PEFT's LoraConfig. USED decide what an adapter gives. WITHOUT_EFFECT describe it, or how it was made and
# trained, or which layers have one, which the tensors tell (a layer without has one of zeros). All others, and fields
# that are not known, must be off: with them PEFT computes something else.
USED = frozenset({"peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "lora_bias", "bias",
                  "init_lora_weights"})  # fmt: skip
WITHOUT_EFFECT = frozenset({
    "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "lora_dropout", "fan_in_fan_out", "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
    "qalora_group_size", "runtime_config", "ensure_weight_tying", "target_modules", "exclude_modules",
    "layers_to_transform", "layers_pattern",
})  # fmt: skip
# Other beginnings change the weights of the base model, on which the adapter then depends.
BEGINNINGS = (True, False, None, "gaussian", "eva", "orthogonal")


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
            adapter = cast(Adapter, layer.adapters[number])
            key, (_, bias) = f"base_model.model.{layer_name}", adapter.change()
            state[f"{key}.lora_A.weight"] = adapter.lora_A.weight
            state[f"{key}.lora_B.weight"] = adapter.lora_B.weight
            state[f"{key}.lora_B.bias"] = bias.to(adapter.lora_B.bias.dtype)
        place = Path(folder) / name
        make_folder(place)
        checkpoints.save(place / PEFT_WEIGHTS, state)
        config = peft_config(transformer.config.rank, base)
        with written_whole(place / PEFT_CONFIG, lasting=True) as temporary:
            temporary.write_text(json.dumps(config, indent=1))
        folders.append(place)
    return folders


def peft_config(rank: int, base: str) -> dict[str, object]:
    """Of PEFT's LoraConfig."""
    ends = sorted({name.split(".", 1)[1] if name.startswith("attn") else name for name in NAMES})
    return {
        "peft_type": "LORA", "base_model_name_or_path": base, "r": rank, "lora_alpha": rank, "lora_bias": True,
        "target_modules": ends, "inference_mode": True, "bias": "none", "lora_dropout": 0.0, "task_type": None,
    }  # fmt: skip


class PeftConfig:
    """Of one adapter, from its adapter_config.json.

    Raises:
        UserError: if the file is missing or is not that of a LoRA, or names something that SemFi's adapters are not.
    """

    def __init__(self, path: Path) -> None:
        try:
            settings = json.loads(path.read_text())
            self.rank, self.alpha = float(settings["r"]), float(settings["lora_alpha"])
            self.ranks, self.alphas = (
                {re.compile(rf"(.*\.)?({key})"): float(value) for key, value in (settings.get(name) or {}).items()}
                for name in ("rank_pattern", "alpha_pattern")
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, re.error) as error:
            raise UserError(f"expected PEFT's configuration of a LoRA, with r and lora_alpha, in {path}") from error
        self.path, self.bias, self.rooted = (
            path,
            settings.get("lora_bias") or False,
            settings.get("use_rslora") or False,
        )
        self._expect("lora_bias", self.bias, (True, False))
        self._expect("use_rslora", self.rooted, (True, False))
        patterns = {"rank_pattern": list(self.ranks.values()), "alpha_pattern": list(self.alphas.values())}
        for name, values in {"r": [self.rank], "lora_alpha": [self.alpha], **patterns}.items():
            for number in values:
                if not math.isfinite(number):
                    raise UserError(f"expected finite numbers of {name} in {path}, got {number}")
        self._expect("peft_type", settings.get("peft_type", "LORA"), ("LORA",))
        self._expect("bias", settings.get("bias", "none"), ("none", None))
        self._expect("init_lora_weights", settings.get("init_lora_weights"), BEGINNINGS)
        for name in sorted(settings.keys() - USED - WITHOUT_EFFECT):
            if settings[name] not in (None, False, [], {}, ""):
                raise UserError(f"expected an adapter without {name} in {path}, got {settings[name]!r}")

    def _expect(self, name: str, value: object, allowed: tuple[object, ...]) -> None:
        if not any(value == word and type(value) is type(word) for word in allowed):
            raise UserError(f"expected {name} {' or '.join(map(repr, allowed))} in {self.path}, got {value!r}")

    def scale(self, layer: str, rank: int) -> float:
        """By which PEFT multiplies what the adapter of a layer gives: alpha / r, or alpha / sqrt(r) by use_rslora."""
        r, alpha = (
            next((value for pattern, value in patterns.items() if pattern.fullmatch(layer)), default)
            for patterns, default in ((self.ranks, self.rank), (self.alphas, self.alpha))
        )
        if r != rank:
            raise UserError(f"expected {layer} of rank {r:g} as {self.path} says, got {rank}")
        return alpha / (rank**0.5 if self.rooted else rank)


def import_peft(transformer: SemFiTransformer, folder: str | Path) -> None:
    """Reads what `export_peft` wrote, or PEFT saved, into a transformer: all of its adapters, A without bias.

    B is multiplied by PEFT's scale, lora_alpha / r, or lora_alpha / sqrt(r) where use_rslora says so, each layer with
    its own of rank_pattern and alpha_pattern. A lower rank than the transformer's is filled with zeros, and so is a
    layer that PEFT had no adapter for, and the bias without lora_bias.

    Raises:
        UserError: if a folder is missing, is not of this transformer, or its configuration has a field set with which
            PEFT computes something else, such as use_dora; the transformer stays as it is.
    """
    counts = transformer.config.frame_counts
    state: dict[str, Tensor] = {}
    for number, name in enumerate(("universal", *(f"expert_{count}" for count in counts))):
        path = Path(folder) / name / PEFT_WEIGHTS
        if not path.is_file():
            raise UserError(
                f"expected {PEFT_WEIGHTS} in the folders universal and expert_{counts[0]} ..., got no {path}"
            )
        config = PeftConfig(path.with_name(PEFT_CONFIG))
        lora_tensors = {key.removeprefix("base_model.model."): value for key, value in checkpoints.read(path).items()}
        for layer, tensors in _layers(transformer, lora_tensors, config, path).items():
            state |= {f"{layer}.adapters.{number}.lora_{kind}": value for kind, value in tensors.items()}
    put(transformer, state, folder)


def _layers(
    transformer: SemFiTransformer, tensors: Mapping[str, Tensor], config: PeftConfig, path: Path
) -> dict[str, dict[str, Tensor]]:
    """The adapter of each layer: A.weight, A.bias, B.weight, B.bias."""
    kinds = ("A.weight", "B.weight", "B.bias") if config.bias else ("A.weight", "B.weight")
    layers, left = {}, set(tensors)
    for layer, mixture in transformer.mixtures():
        own = {kind: tensors[f"{layer}.lora_{kind}"] for kind in kinds if f"{layer}.lora_{kind}" in tensors}
        left -= {f"{layer}.lora_{kind}" for kind in own}
        if own and len(own) < len(kinds):
            raise UserError(f"expected {', '.join(kinds)} of {layer} in {path}, got {', '.join(own)} alone")
        sizes = (mixture.in_features, mixture.out_features, transformer.config.rank)
        layers[layer] = _filled(layer, own, sizes, config, next(iter(tensors.values())))
    if left:
        raise UserError(f"expected adapters of this transformer in {path}, got {len(left)} others, such as {min(left)}")
    return layers


def _filled(
    layer: str, tensors: Mapping[str, Tensor], sizes: tuple[int, int, int], config: PeftConfig, like: Tensor
) -> dict[str, Tensor]:
    """What is given, B times the scale, and zeros elsewhere, of the dtype of `like`."""
    inputs, outputs, most = sizes
    rank = next(iter(tensors["A.weight"].shape), 0) if tensors else 0

    def shapes(r: int) -> dict[str, tuple[int, ...]]:
        return {"A.weight": (r, inputs), "A.bias": (r,), "B.weight": (outputs, r), "B.bias": (outputs,)}

    filled = {kind: torch.zeros(size, dtype=like.dtype) for kind, size in shapes(most).items()}
    for kind, value in tensors.items():
        size = shapes(rank)[kind]
        if tuple(value.shape) != size or rank > most:
            expected = (
                f"expected {layer}.lora_{kind} with {inputs} inputs, {outputs} outputs and a rank of at most {most}"
            )
            raise UserError(f"{expected} beside {config.path}, got {tuple(value.shape)}")
        scale = config.scale(layer, rank) if kind.startswith("B") else 1
        filled[kind][tuple(slice(n) for n in size)] = value * scale
    return filled
