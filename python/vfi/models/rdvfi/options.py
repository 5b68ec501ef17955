"""What a user of RDVFI may choose."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vfi.models.diffusion_options import BACKBONE, DiffusionOptions
from vfi.options import TrainingOptions, option

Variant = Literal["d", "u"]
Warp = Literal["forward", "backward"]
Layout = Literal["image", "causal"]
Losses = Literal["full", "l2", "latent"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
WARPS: tuple[Warp, ...] = get_args(Warp)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


@dataclass(frozen=True)
class RDVFIOptions(DiffusionOptions):
    warp: Warp | None = option(
        None,
        "forward: pixels are splatted along their trajectories, or backward (default: as the model was saved, else "
        "forward)",
    )


@dataclass(frozen=True)
class RDVFITraining(TrainingOptions):
    data = f"{TrainingOptions.data}, or of clips of images"
    backbone: Path | None = option(None, BACKBONE, metavar="FOLDER")
    lpips: tuple[Path, Path] | None = option(
        None,
        "AlexNet's and LPIPS' files of weights, for the loss (default: Laplacian pyramids in its place)",
        metavar=("ALEXNET", "HEADS"),
    )
    latent_layout: Layout | None = option(
        None,
        "rdvfi-d: keyframes are encoded each alone (image), or as a clip, as Wan was trained (causal; default: as the "
        "weights say, else image)",
    )
    direct: bool = option(
        False, "find each keyframe's flow from the frame and that keyframe alone: the ablation of direct warping"
    )
    losses: Losses = option(
        "full", "of stage 2: all (full), without the perceptual one (l2), or of the latents alone (latent)"
    )
