"""How much changes between the first and the last frame of a video: the CLIP score and the flow score."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vfi.errors import UserError, require
from vfi.files.images import to_tensor
from vfi.files.opencv import opencv
from vfi.models.flow_by_name import Flow
from vfi.networks.wan.clip import MEAN, STD
from vfi.networks.wan.encoders import activation
from vfi.networks.wan.files import Stored, filled, stored

Score = Callable[[np.ndarray, np.ndarray], float]  # of two (H, W, 3) uint8 pictures


def clip_score(path: str | Path, device: str = "cpu") -> Score:
    """Cosine similarity of CLIP's image features of two pictures: 1 for equal ones.

    Args:
        path: folder of transformers' CLIPModel or CLIPVisionModelWithProjection, as safetensors.

    Raises:
        UserError: if it is something else.
    """
    network = _clip(path).to(device)

    @torch.no_grad()
    def score(first: np.ndarray, last: np.ndarray) -> float:
        seen = torch.cat([clip_view(to_tensor(rgb, device), network.config.image_size) for rgb in (first, last)])
        x, y = network(pixel_values=seen.to(network.dtype)).image_embeds.float()
        return float(F.cosine_similarity(x, y, dim=0))

    return score


def clip_view(frame: Tensor, side: int) -> Tensor:
    """(1, 3, H, W) in [0, 1] as CLIP takes it: the square in the middle, of the shorter side, and normalised."""
    height, width = frame.shape[2:]
    sizes = [max(side, round(n * side / min(height, width))) for n in (height, width)]
    small = F.interpolate(frame, sizes, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    top, left = ((n - side) // 2 for n in sizes)
    mean, std = (small.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (small[..., top : top + side, left : left + side] - mean) / std


def _clip(path: str | Path) -> Any:
    library = require("transformers", "diffusion")
    stored_files = stored(path, "image_encoder", "CLIP with its projection")
    settings = stored_files.settings.get("vision_config", stored_files.settings)
    state = {k: v for k, v in stored_files.state.items() if k.startswith(("vision_model.", "visual_projection."))}
    state.pop("vision_model.embeddings.position_ids", None)
    stored_files = Stored(stored_files.path, stored_files.what, state, settings if isinstance(settings, dict) else {})
    width, channels, patch, _ = stored_files.shape("vision_model.embeddings.patch_embedding.weight", 4)
    places = stored_files.shape("vision_model.embeddings.position_embedding.weight", 2)[0]
    heads = stored_files.whole("num_attention_heads") or 12
    if width % heads:
        raise UserError(f"expected {width} channels of {stored_files.path} in heads of one size, got {heads} heads")
    sizes = {
        "hidden_size": width,
        "intermediate_size": stored_files.shape("vision_model.encoder.layers.0.mlp.fc1.weight", 2)[0],
        "num_hidden_layers": stored_files.count("vision_model.encoder.layers."),
        "num_attention_heads": heads,
        "num_channels": channels,
        "patch_size": patch,
        "image_size": round(max(places - 1, 0) ** 0.5) * patch,
        "projection_dim": stored_files.shape("visual_projection.weight", 2)[0],
        "hidden_act": activation(stored_files),
    }
    network: nn.Module = filled(
        lambda: library.CLIPVisionModelWithProjection(library.CLIPVisionConfig(**sizes)), stored_files, None
    )
    return network


def flow_score(flow: Flow, side: int) -> Score:
    """Mean length of the flow from one picture to the other over all pixels, in pixels.

    side: pictures whose shorter side is longer are shrunk to it first, and the pixels are those; 0: never.
    """

    def score(first: np.ndarray, last: np.ndarray) -> float:
        pair = [to_tensor(shrunk(rgb, side)) for rgb in (first, last)]
        return float(flow(*pair).norm(dim=1).mean())

    return score


def shrunk(rgb: np.ndarray, side: int) -> np.ndarray:
    height, width = rgb.shape[:2]
    shorter = min(height, width)
    if not side or shorter <= side:
        return rgb
    cv2 = opencv()
    size = (round(width * side / shorter), round(height * side / shorter))
    result: np.ndarray = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return result
