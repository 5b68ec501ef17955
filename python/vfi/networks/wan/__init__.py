"""Wan 2.1 from its published files, as networks of diffusers and transformers. Nothing is downloaded.

Files with Wan's own names of the tensors (Wan2.1-I2V-14B-720P, Wan2.1-Fun-1.3B-InP) and folders of diffusers are read
alike: sizes come from the tensors, and every tensor must find its place.
"""

from vfi.networks.wan.autoencoder import vae
from vfi.networks.wan.clip import clip_input
from vfi.networks.wan.config import FUN_1_3B, I2V_14B
from vfi.networks.wan.dit import diffusers_name, original_name, transformer
from vfi.networks.wan.encoders import empty_prompt, image_encoder, text_encoder
from vfi.networks.wan.files import Parts, find

__all__ = [
    "FUN_1_3B", "I2V_14B", "Parts", "clip_input", "diffusers_name", "empty_prompt", "find", "image_encoder",
    "original_name", "text_encoder", "transformer", "vae",
]  # fmt: skip
