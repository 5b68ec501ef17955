"""The VAE of Wan 2.1, from Wan2.1_VAE.pth or a folder of diffusers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vfi.errors import UserError, require
from vfi.networks.wan.files import Stored, filled, stored

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan

CHANNELS = 16  # of the published latents, whose means and deviations are the defaults of diffusers


def vae(path: str | Path, dtype: torch.dtype | None = None) -> "AutoencoderKLWan":
    """diffusers' AutoencoderKLWan with the sizes and the parameters of files, in eval mode.

    Args:
        path: Wan2.1_VAE.pth; or a folder of diffusers, also one with the subfolder `vae`.
        dtype: of the parameters; None: as stored.

    Raises:
        UserError: if files are missing, damaged or of another network; says which keys differ.
    """
    library = require("diffusers", "diffusion")
    files = stored(path, "vae", "the VAE of Wan 2.1")
    if "encoder.conv1.weight" in files.state:
        convert = require("diffusers.loaders.single_file_utils", "diffusion").convert_wan_vae_to_diffusers
        files = Stored(files.path, files.what, convert(files.state), files.settings)
    width = files.shape("encoder.conv_in.weight", 5)[0]
    channels = files.shape("post_quant_conv.weight", 5)[0]
    sizes = {"base_dim": width, "z_dim": channels, **statistics(files, channels)}
    return filled(lambda: library.AutoencoderKLWan(**sizes), files, dtype)


def statistics(files: Stored, channels: int) -> dict[str, object]:
    """Means and deviations of the latents that config.json gives; they are needed where there are not 16 channels."""
    told: dict[str, Any] = {
        name: files.settings[name] for name in ("latents_mean", "latents_std") if name in files.settings
    }
    for name, values in told.items():
        numbers = isinstance(values, list) and all(type(v) in (int, float) and abs(v) < 1e6 for v in values)
        if not numbers or len(values) != channels:
            raise UserError(f"expected {channels} numbers as {name} in config.json beside {files.path}")
    if channels != CHANNELS and len(told) < 2:
        raise UserError(f"expected latents of {CHANNELS} channels in {files.path}, got {channels}")
    return told
