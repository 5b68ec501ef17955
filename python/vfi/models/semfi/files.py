"""Files of adapters: semfi.ckpt with the names of SemFi, and ours."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vfi.errors import ArgumentError, UserError
from vfi.files import checkpoints
from vfi.files.atomic import check_target
from vfi.models import recognition
from vfi.models.semfi.mixture import SemFiTransformer

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


def adapter_state(transformer: SemFiTransformer) -> dict[str, Tensor]:
    """All adapters, by our names."""
    return {key: value for key, value in transformer.state_dict().items() if ".adapters." in key}


def semfi_name(ours: str) -> str:
    """SemFi's name of one of our tensors."""
    match = _OURS.fullmatch(ours)
    if match is None or match[2] not in NAMES:
        raise ArgumentError(f"expected a tensor of an adapter, got {ours}")
    return f"{match[1]}.{NAMES[match[2]]}.{match[3]}.{match[4]}"


def our_name(theirs: str) -> str | None:
    """Ours of one of SemFi's; None: it is no adapter's."""
    match = _THEIRS.fullmatch(theirs)
    if match is None or match[2] not in OURS:
        return None
    return f"{match[1]}.{OURS[match[2]]}.adapters.{match[3]}.{match[4]}"


def read_adapters(path: str | Path) -> dict[str, Tensor]:
    """A file's tensors; a UserError if they are another network's."""
    state = checkpoints.read(path)
    recognition.expect(state, path, "SemFi's adapters")
    return state


def load_adapters(transformer: SemFiTransformer, path: str | Path) -> None:
    """Reads adapters into a transformer: semfi.ckpt, or what a training wrote.

    Raises:
        UserError: if the file holds no adapters, or not those of this transformer, all of them.
    """
    state = read_adapters(path)
    named = {our_name(key) or key: value for key, value in state.items()}
    chosen = {key: value for key, value in named.items() if _OURS.fullmatch(key)}
    if not chosen:
        such = "such as blocks.0.self_attn.lora_q.0.lora_A.weight"
        raise UserError(f"expected adapters of SemFi in {path}, {such}, got {checkpoints.listed(list(state))}")
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
        checkpoints.load_into(Adapters(transformer), state, path, called="SemFi's adapters")
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
    checkpoints.save(Path(path), {semfi_name(key): value for key, value in adapter_state(transformer).items()})
