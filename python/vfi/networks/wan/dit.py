"""The transformer of Wan 2.1 (Wan Team, 2025), from Wan's names of its tensors or from those of diffusers."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vfi.errors import UserError, require
from vfi.networks.wan.files import filled, stored
from vfi.options import whole

if TYPE_CHECKING:
    from diffusers import WanTransformer3DModel

HEAD = 128  # channels of a head in every published transformer

# Wan's name of a module or parameter: that of diffusers.
OUTER = {
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
    "img_emb.emb_pos": "condition_embedder.image_embedder.pos_embed",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}
BLOCK = {
    **{f"{theirs}.{a}": f"{ours}.{b}" for theirs, ours in (("self_attn", "attn1"), ("cross_attn", "attn2"))
       for a, b in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"),
                    ("norm_q", "norm_q"), ("norm_k", "norm_k"))},
    "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj",
    "cross_attn.norm_k_img": "attn2.norm_added_k",
    "norm3": "norm2",  # before cross attention: the only norm of a block that has parameters
    "norm2": "norm3",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "modulation": "scale_shift_table",
}  # fmt: skip
_PARTS = re.compile(r"(blocks\.\d+\.)?(.*?)(\.weight|\.bias)?")


def diffusers_name(key: str) -> str:
    """Of a tensor or module of Wan; names that are not Wan's stay as they are."""
    return _renamed(key, OUTER, BLOCK)


def original_name(key: str) -> str:
    """Wan's name of a tensor or module of WanTransformer3DModel."""
    return _renamed(key, {b: a for a, b in OUTER.items()}, {b: a for a, b in BLOCK.items()})


def _renamed(key: str, outer: dict[str, str], block: dict[str, str]) -> str:
    match = _PARTS.fullmatch(key)
    if match is None:
        return key
    place, name, kind = match.groups(default="")
    return place + (block if place else outer).get(name, name) + kind


def transformer(
    path: str | Path, dtype: torch.dtype | None = None, heads: int | None = None
) -> "WanTransformer3DModel":
    """diffusers' WanTransformer3DModel with the sizes and the parameters of files, in eval mode.

    Args:
        path: a .safetensors file with Wan's names; a folder with that file or its shards; or a folder of diffusers,
            also one with the subfolder `transformer`.
        dtype: of the parameters; None: as stored. Norms, time embedding and modulation are float32, as in diffusers.
        heads: how many; None: as config.json says, or one for 128 channels.

    Raises:
        UserError: if files are missing, damaged or of another network; says which keys differ.
    """
    if heads is not None:
        whole("heads", heads, 1)
    library = require("diffusers", "diffusion")
    files = stored(path, "transformer", "a transformer of Wan 2.1")
    names = str if "proj_out.weight" in files.state else original_name
    first = files.shape(names("patch_embedding.weight"), 5)
    width, channels, *patch = first
    heads = heads or files.whole("num_heads", "num_attention_heads") or width // HEAD
    if not heads or width % heads or (width // heads) % 2:
        raise UserError(
            f"cannot tell how many heads the transformer in {files.path} has: {width} channels, {heads} heads; "
            "give config.json with num_heads"
        )
    embedder = "condition_embedder.{}.weight"
    image, position = (names(embedder.format("image_embedder." + n)) for n in ("ff.net.0.proj", "pos_embed"))
    position = position.removesuffix(".weight")
    added = names("blocks.0.attn2.add_k_proj.weight")
    sizes = {
        "patch_size": tuple(patch),
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "in_channels": channels,
        "out_channels": files.shape(names("proj_out.weight"), 2)[0] // max(patch[0] * patch[1] * patch[2], 1),
        "text_dim": files.shape(names(embedder.format("text_embedder.linear_1")), 2)[1],
        "freq_dim": files.shape(names(embedder.format("time_embedder.linear_1")), 2)[1],
        "ffn_dim": files.shape(names("blocks.0.ffn.net.0.proj.weight"), 2)[0],
        "num_layers": files.count("blocks."),
        "image_dim": files.shape(image, 2)[1] if image in files.state else None,
        "added_kv_proj_dim": files.shape(added, 2)[1] if added in files.state else None,
        "pos_embed_seq_len": files.shape(position, 3)[1] if position in files.state else None,
    }
    return filled(lambda: library.WanTransformer3DModel(**sizes), files, dtype, names)
