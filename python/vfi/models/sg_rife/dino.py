"""DINOv3-Small (Siméoni et al., 2025) as a frozen source of features; needs transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vfi.errors import UserError, require
from vfi.files import checkpoints
from vfi.models import recognition
from vfi.options import whole

BLOCKS = (8, 11)  # whose outputs are used, counted from 0
PATCH, WIDTH, REGISTERS = 16, 384, 4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB


def make_network(**options: object) -> nn.Module:
    """transformers' DINOv3ViTModel as ViT-S/16 with 4 registers; `options` of its configuration, for small ones."""
    require("transformers", "sg-rife")
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    usual = {
        "hidden_size": WIDTH, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6,
        "patch_size": PATCH, "num_register_tokens": REGISTERS, "key_bias": False, "rope_theta": 100.0,
        "image_size": 224,
    }  # fmt: skip
    network: nn.Module = DINOv3ViTModel(DINOv3ViTConfig(**{**usual, **options}))
    return network


class Dino(nn.Module):
    """Maps of blocks 8 and 11, after the final norm, without the class and register tokens. Frozen, always in eval.

    Args:
        network: transformers' DINOv3ViTModel.
        max_side: pictures with a longer side are made smaller for it, to multiples of the patch; None: never.
        blocks: other blocks, of a smaller network.
    """

    def __init__(self, network: nn.Module, max_side: int | None = None, blocks: tuple[int, ...] = BLOCKS):
        super().__init__()
        check_side(max_side)
        for block in blocks:
            whole("blocks", block, 0)
        self.blocks = blocks
        self.channels: int = network.config.hidden_size  # type: ignore[union-attr,assignment]
        self.network: Any = network.requires_grad_(False).eval()
        self.max_side = max_side
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    mean: Tensor
    std: Tensor

    def train(self, mode: bool = True) -> "Dino":
        return super().train(False)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """(B, 3, H, W), RGB in [0, 1], H and W multiples of 16 -> (B, 384, H / 16, W / 16) of each block."""
        rgb = self.shrunk(rgb)
        height, width = (n // PATCH for n in rgb.shape[2:])
        states = self.network(pixel_values=(rgb - self.mean) / self.std, output_hidden_states=True).hidden_states
        maps = []
        for block in self.blocks:
            tokens = self.network.norm(states[block + 1])[:, 1 + REGISTERS :]
            maps.append(tokens.transpose(1, 2).unflatten(2, (height, width)))
        return maps

    def shrunk(self, rgb: Tensor) -> Tensor:
        longest = max(rgb.shape[2:])
        if self.max_side is None or longest <= self.max_side:
            return rgb
        size = [max(round(n * self.max_side / longest / PATCH), 1) * PATCH for n in rgb.shape[2:]]
        return F.interpolate(rgb, size=size, mode="bilinear", align_corners=False, antialias=True)


def check_side(max_side: int | None) -> None:
    if max_side is not None:
        whole("dino_max_side", max_side, PATCH)


def load(path: str | Path, max_side: int | None = None) -> Dino:
    """DINOv3-Small from a file: Meta's .pth, or transformers' model.safetensors, of its names of before or since 5.

    Raises:
        UserError: if it cannot be read, or is of another network; says which keys differ.
    """
    check_side(max_side)
    state = checkpoints.read(path)
    recognition.expect(state, path, "DINOv3")
    if "blocks.0.attn.qkv.weight" in state:
        state = from_meta(state)
    network = make_network()
    own_keys = set(network.state_dict())
    layers = "model.layer." if any(k.startswith("model.layer.") for k in own_keys) else "layer."
    renamed = {}
    for key, value in state.items():
        bare = key.removeprefix("model.")
        renamed[layers + bare.removeprefix("layer.") if bare.startswith("layer.") else key] = value
    kept = {k: v for k, v in renamed.items() if k != "embeddings.mask_token" or k in own_keys}
    checkpoints.load_into(network, kept, path, called="DINOv3-Small")
    return Dino(network, max_side)


PARTS = {
    "attn.proj": "attention.o_proj",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
    "mlp.fc1": "mlp.up_proj",
    "mlp.fc2": "mlp.down_proj",
}


def from_meta(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Meta's names and shapes as transformers': qkv in three, no bias of the keys, no mask of it, no RoPE periods."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.endswith("bias_mask") or key.startswith("rope_embed."):
            continue
        if not key.startswith("blocks."):
            key = key.replace("patch_embed.proj", "embeddings.patch_embeddings")
            key = {
                "storage_tokens": "embeddings.register_tokens", "cls_token": "embeddings.cls_token",
                "mask_token": "embeddings.mask_token",
            }.get(key, key)  # fmt: skip
            token = key.endswith("_token") and value.dim() and value.numel()
            renamed[key] = value.reshape(1, -1, value.shape[-1]) if token else value
            continue
        number, _, part = key.removeprefix("blocks.").partition(".")
        if part.startswith("attn.qkv."):
            kind = part.removeprefix("attn.qkv.")
            for name, piece in zip("qkv", value.chunk(3) if value.dim() else ()):
                if (name, kind) != ("k", "bias"):
                    renamed[f"layer.{number}.attention.{name}_proj.{kind}"] = piece
            continue
        for theirs, ours in PARTS.items():
            part = part.replace(theirs, ours)
        renamed[f"layer.{number}.{part}"] = value
    if not renamed:
        raise UserError("expected a checkpoint of DINOv3, got no tensors")
    return renamed
