"""What Wan 2.1 is told: CLIP's features of a frame, UMT5's of a text; from Wan's files or folders of transformers."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi.errors import UserError, require
from vfi.networks.wan.files import Stored, filled, stored
from vfi.options import whole

if TYPE_CHECKING:
    from transformers import CLIPVisionModel, UMT5EncoderModel

HEAD = 80  # channels of a head of ViT-H/14: 1280 / 16
END = 1  # UMT5's token at the end of a text
TOKENS = 512  # rows of a text that Wan's transformer expects

# Wan's name of a module in visual.transformer.N: that of transformers in encoder.layers.N.
LAYER = {
    "norm1": "layer_norm1", "norm2": "layer_norm2", "attn.proj": "self_attn.out_proj", "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}  # fmt: skip
OUTER = {
    "visual.patch_embedding.weight": "embeddings.patch_embedding.weight",
    "visual.cls_embedding": "embeddings.class_embedding",
    "visual.pos_embedding": "embeddings.position_embedding.weight",
    **{f"visual.pre_norm.{kind}": f"pre_layrnorm.{kind}" for kind in ("weight", "bias")},
    **{f"visual.post_norm.{kind}": f"post_layernorm.{kind}" for kind in ("weight", "bias")},
}
_LAYER = re.compile(r"visual\.transformer\.(\d+)\.(.+)\.(weight|bias)")

# Of a key in encoder.block.N: Wan's in blocks.N.
BLOCK = {
    "layer.0.layer_norm": "norm1",
    **{f"layer.0.SelfAttention.{name}": f"attn.{name}" for name in "qkvo"},
    "layer.0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
    "layer.1.layer_norm": "norm2",
    "layer.1.DenseReluDense.wi_0": "ffn.gate.0",
    "layer.1.DenseReluDense.wi_1": "ffn.fc1",
    "layer.1.DenseReluDense.wo": "ffn.fc2",
}
_BLOCK = re.compile(r"encoder\.block\.(\d+)\.(.+)\.weight")
_TEXT_OUTER = {"shared.weight": "token_embedding.weight", "encoder.final_layer_norm.weight": "norm.weight"}


def image_encoder(path: str | Path, dtype: torch.dtype | None = None, heads: int | None = None) -> "CLIPVisionModel":
    """transformers' CLIPVisionModel with the sizes and the parameters of files, in eval mode.

    Wan sees a frame as `hidden_states[-2]` of it, (B, 257, 1280) for ViT-H/14: ask for `output_hidden_states=True`.

    Args:
        path: models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth, whose text encoder is left out; or a folder of
            transformers, also one with the subfolder `image_encoder`.
        dtype: of the parameters; None: as stored.
        heads: how many; None: as config.json says, or one for 80 channels.

    Raises:
        UserError: if files are missing, damaged or of another network; says which keys differ.
    """
    if heads is not None:
        whole("heads", heads, 1)
    library = require("transformers", "diffusion")
    files = stored(path, "image_encoder", "CLIP's image encoder")
    original = any(key.startswith("visual.") for key in files.state)
    state = from_wan(files.state) if original else without_prefix(files.state)
    files = Stored(files.path, files.what, state, files.settings)
    width, channels, patch, _ = files.shape("embeddings.patch_embedding.weight", 4)
    places = files.shape("embeddings.position_embedding.weight", 2)[0]
    heads = heads or files.whole("num_attention_heads") or width // HEAD
    if not heads or width % heads:
        raise UserError(f"cannot tell how many heads the network in {files.path} has: {width} channels, {heads} heads")
    sizes = {
        "hidden_size": width,
        "intermediate_size": files.shape("encoder.layers.0.mlp.fc1.weight", 2)[0],
        "num_hidden_layers": files.count("encoder.layers."),
        "num_attention_heads": heads,
        "num_channels": channels,
        "patch_size": patch,
        "image_size": math.isqrt(max(places - 1, 0)) * patch,
        "hidden_act": "gelu" if original else activation(files),
    }
    return filled(lambda: library.CLIPVisionModel(library.CLIPVisionConfig(**sizes)), files, dtype)


def activation(files: Stored) -> str:
    """Of a folder of transformers, whose default is not that of Wan's encoder."""
    name: str = files.settings.get("hidden_act", "quick_gelu")
    if name not in ("gelu", "quick_gelu"):
        raise UserError(f"expected hidden_act gelu or quick_gelu in config.json beside {files.path}, got {name!r:.40}")
    return name


def from_wan(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names and shapes of transformers: queries, keys and values apart, no head, no text encoder."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        layer = _LAYER.fullmatch(key)
        if layer and layer[2] == "attn.to_qkv":
            for name, piece in zip("qkv", value.chunk(3) if value.dim() else ()):
                renamed[f"encoder.layers.{layer[1]}.self_attn.{name}_proj.{layer[3]}"] = piece
        elif layer and layer[2] in LAYER:
            renamed[f"encoder.layers.{layer[1]}.{LAYER[layer[2]]}.{layer[3]}"] = value
        elif key in ("visual.cls_embedding", "visual.pos_embedding"):
            renamed[OUTER[key]] = value.squeeze(0).squeeze(0)
        elif key.startswith("visual.") and key != "visual.head":
            renamed[OUTER.get(key, key)] = value
    return renamed


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names of transformers since 5: before, they began with `vision_model.`, and positions were numbered."""
    bare = {key.removeprefix("vision_model."): value for key, value in state.items()}
    bare.pop("embeddings.position_ids", None)
    return bare


def text_encoder(path: str | Path, dtype: torch.dtype | None = None) -> "UMT5EncoderModel":
    """transformers' UMT5EncoderModel with the sizes and the parameters of files, in eval mode.

    Args:
        path: models_t5_umt5-xxl-enc-bf16.pth; or a folder of transformers, also one with the subfolder `text_encoder`.
        dtype: of the parameters; None: as stored.

    Raises:
        UserError: if files are missing, damaged or of another network; says which keys differ.
    """
    library = require("transformers", "diffusion")
    files = stored(path, "text_encoder", "UMT5's encoder")
    original = "token_embedding.weight" in files.state
    if not original and (tied := files.state.pop("encoder.embed_tokens.weight", None)) is not None:
        files.state.setdefault("shared.weight", tied)

    def names(key: str) -> str:
        key = "shared.weight" if key == "encoder.embed_tokens.weight" else key
        return wan_text_name(key) if original else key

    words, width = files.shape(names("shared.weight"), 2)
    first = "encoder.block.0.layer."
    steps, heads = files.shape(names(first + "0.SelfAttention.relative_attention_bias.weight"), 2)
    sizes = {
        "vocab_size": words,
        "d_model": width,
        "num_heads": heads,
        "d_kv": files.shape(names(first + "0.SelfAttention.q.weight"), 2)[0] // max(heads, 1),
        "d_ff": files.shape(names(first + "1.DenseReluDense.wi_0.weight"), 2)[0],
        "num_layers": files.count("blocks." if original else "encoder.block."),
        "relative_attention_num_buckets": steps,
    }
    network = filled(lambda: library.UMT5EncoderModel(library.UMT5Config(**sizes)), files, dtype, names)
    network.tie_weights()
    return network


def wan_text_name(key: str) -> str:
    """Wan's name of a tensor of UMT5EncoderModel."""
    block = _BLOCK.fullmatch(key)
    if block and block[2] in BLOCK:
        return f"blocks.{block[1]}.{BLOCK[block[2]]}.weight"
    return _TEXT_OUTER.get(key, key)


@torch.no_grad()
def empty_prompt(text_encoder: "UMT5EncoderModel", length: int = TOKENS) -> Tensor:
    """What Wan's transformer is given for the text "": (1, length, width).

    Wan encodes a text with the end token after it and fills up with zeros, not with encoded padding. Of "" only the end
    token is left, so the first row is the encoder's output for it alone and the others are 0. No tokenizer is needed.
    """
    whole("length", length, 1)
    ids = torch.full((1, 1), END, device=next(text_encoder.parameters()).device)
    rows = text_encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return F.pad(rows, (0, 0, 0, length - 1))
