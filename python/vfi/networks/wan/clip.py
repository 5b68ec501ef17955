"""Frames as CLIP's image encoder takes them."""

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from transformers import CLIPVisionModel

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def clip_input(frames: Tensor, encoder: "CLIPVisionModel", antialias: bool = False) -> Tensor:
    """Frames (B, 3, H, W) in [0, 1] as CLIP takes them.

    antialias: as CLIP was trained, and clamped to [0, 1]. Without: bicubic samples of the frame alone, not clamped, as
    the public pipelines of Wan 2.1 have it, on which its image encoder's features were learned.
    """
    side = encoder.config.image_size
    small = F.interpolate(frames.float(), (side, side), mode="bicubic", antialias=antialias, align_corners=False)
    small = small.clamp(0, 1) if antialias else small
    mean, std = (small.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return ((small - mean) / std).to(encoder.dtype)
