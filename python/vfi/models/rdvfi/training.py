"""Training of RDVFI: trajectories and synthesis on true latents, then the denoiser through both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vfi.errors import ArgumentError
from vfi.models.rdvfi import files
from vfi.models.rdvfi.diffusion import WanDiffusion
from vfi.models.rdvfi.model import RDVFI
from vfi.models.rdvfi.options import Layout, Losses, Variant
from vfi.networks.lpips import LPIPS
from vfi.networks.lpips import load as load_lpips
from vfi.training.losses import laplacian
from vfi.training.objective import Group, Objective, Outcome, Stage

WEIGHTS = {"l2": 1.0, "lpips": 0.2, "laplacian": 0.2}  # of the reconstruction's parts; the last for want of LPIPS
LATENT, RECONSTRUCTION = 1.0, 0.5  # of the second stage
_TINY_ROOT = 1e-12
SETTINGS = ("low_size", "keyframes", "latent_layout", "warp", "a")
CAUSAL_KEYFRAMES = 5  # between two frames: 25 frames are seven latents
REPLACED = "without the files of LPIPS the distance of Laplacian pyramids takes its place in the loss"


class Trained(nn.Module):
    """What a stage trains and its file of weights holds, by the names of the pipeline's parts."""

    channel_order = "rgb"

    def __init__(self, pipeline: RDVFI) -> None:
        super().__init__()
        self.estimator, self.synthesis, self.denoiser = pipeline.estimator, pipeline.synthesis, pipeline.denoiser
        self.prompt = pipeline.prompt


class RDVFIObjective(Objective):
    """Stage 1: the estimator and the synthesis, on latents of true frames, unsupervised. Stage 2: the denoiser, by its
    own loss and by the frames that its latents lead to, through the frozen other two.

    A clip's first and last frame are given. In stage 2 the noise's time is drawn between a bound that rises from 0 to 1
    over the training, and 1: at the end it is the one step that interpolation takes. losses: of stage 2, for the
    paper's ablation: "full"; "l2": without the perceptual one; "latent": without any of frames.
    """

    stages = (
        Stage("trajectories and synthesis, on true latents", 40, 16, (256, 448), 1e-4, final_rate=1e-6, warm_up=500),
        Stage("the denoiser, through both", 20, 16, (256, 448), 2e-5, final_rate=1e-6, warm_up=500, weight_decay=1e-2),
    )

    any_time = True

    def __init__(self, pipeline: RDVFI, perceptual: LPIPS | None = None, losses: Losses = "full") -> None:
        super().__init__(Trained(pipeline))
        self.pipeline = pipeline  # no module: its frozen parts are no part of the state
        self.perceptual, self.losses = perceptual, losses
        self.remarks = (REPLACED,) if perceptual is None and losses == "full" else ()
        self.multiple = max(pipeline.diffusion.multiple, 32)
        nodes = pipeline.config.keyframes + 1
        steps = max(24 // nodes, 1)
        if pipeline.config.latent_layout == "causal":
            steps = 4  # a latent is of four frames
        self.frames = nodes * steps + 1
        self.stage, self.fresh = 1, False

    def to(self, *arguments: Any, **options: Any) -> "RDVFIObjective":
        """Moves the frozen parts too."""
        for part in self.pipeline.components.values():
            if isinstance(part, nn.Module):
                part.to(*arguments, **options)
        return super().to(*arguments, **options)

    def begin(self, stage: int) -> list[Group]:
        if self.fresh and stage > 1:
            raise ArgumentError(
                "stage 2 begins with `weights` of stage 1, through whose networks the denoiser is trained"
            )
        if self.losses != "full" and stage == 1:
            raise ArgumentError(f"`losses` {self.losses} is for stage 2, got stage 1")
        for part in self.pipeline.components.values():
            if isinstance(part, nn.Module):
                part.eval().requires_grad_(False)
        self.stage = stage
        network = self.network
        if stage == 1:
            # The denoiser takes no part and stays out of the file
            del network.denoiser
            chosen = [network.estimator, network.synthesis]
        else:
            network.denoiser.enable_gradient_checkpointing()
            chosen = [network.denoiser]
        for part in chosen:
            part.train().requires_grad_(True)
        if self.pipeline.config.warp == "backward":  # which has no use for it
            network.estimator.fusion.metric.requires_grad_(False)
        return [Group([parameter for part in chosen for parameter in part.parameters() if parameter.requires_grad])]

    def outcome(self, frames: Tensor, times: Tensor) -> Outcome:
        pipeline, last = self.pipeline, frames.shape[1] - 1
        with torch.no_grad():
            truth = self.latents(frames)
        latents, terms, loss = truth, {}, frames.new_zeros(())
        if self.stage == 2:
            time = self.drawn_times(len(frames), frames.device)
            noise = torch.randn_like(truth)
            noisy = pipeline.diffusion.noisy(truth, noise, time)
            ends = torch.stack((truth[:, 0], truth[:, -1]), 1)
            latents, velocity = pipeline.drawn(ends, frames[:, 0], frames[:, -1], noisy, time)
            apart = (velocity - pipeline.diffusion.wanted(truth, noise, time))[:, 1:-1]
            terms["latent"] = apart.square().mean()
            loss = LATENT * terms["latent"]
        # Which frame is looked at, of each clip
        places = torch.randint(1, last, (len(frames), 1), device=frames.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.losses != "latent"):
            trajectory = pipeline.along(frames[:, 0], frames[:, -1], latents)
            result = trajectory.rendered(frames[:, 0], frames[:, -1], places / last)[:, 0]
        wanted = frames[torch.arange(len(frames), device=frames.device), places[:, 0]]
        if self.losses != "latent":
            terms |= self.reconstruction(result, wanted)
            share = RECONSTRUCTION if self.stage == 2 else 1.0
            loss = loss + share * sum((WEIGHTS[name] * terms[name] for name in WEIGHTS if name in terms), loss * 0)
        return Outcome(loss, terms, result, wanted)

    def reconstruction(self, result: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """The perceptual term, by its name, and the root mean square error."""
        roots = ((result - truth).square().mean((1, 2, 3)) + _TINY_ROOT).sqrt()
        terms = {"l2": roots.mean()}
        if self.losses == "full" and self.perceptual is not None:
            terms["lpips"] = self.perceptual(result, truth).mean()
        elif self.losses == "full":
            terms["laplacian"] = laplacian(result, truth)
        return terms

    def notes(self, step: int) -> dict[str, str]:
        """What no tensor's shape tells."""
        config = self.pipeline.config
        direct = self.network.estimator.config.direct
        return {"latent_layout": config.latent_layout, "keyframes": str(config.keyframes), "direct": str(direct)}

    def latents(self, frames: Tensor) -> Tensor:
        """The true latents (B, nodes, C, h, w) of clips (B, F, 3, H, W)."""
        diffusion, nodes = self.pipeline.diffusion, self.pipeline.nodes
        if isinstance(diffusion, WanDiffusion) and diffusion.causal:
            encoded = diffusion.encode_clip(frames)
            # The last frame is known alone, as where nothing else is known
            return torch.cat((encoded[:, :-1], diffusion.encode(frames[:, -1])[:, None]), 1)
        kept = frames[:, :: (frames.shape[1] - 1) // (nodes - 1)]
        result: Tensor = diffusion.encode(kept.flatten(0, 1)).unflatten(0, kept.shape[:2])
        return result

    def drawn_times(self, count: int, device: torch.device) -> Tensor:
        """Between the bound, which rises with the training, and 1."""
        return self.progress + (1 - self.progress) * torch.rand(count, device=device)

    def watched(self, network: nn.Module, frames: Tensor, time: float) -> Tensor:
        """In stage 1 from true latents; in stage 2 as interpolation does it, by one step from noise."""
        before, after = frames[:, 0], frames[:, -1]
        own = {name: part for name, part in network.named_children() if name != "prompt"}
        settings = {name: self.pipeline.config[name] for name in SETTINGS} | {"low_size": tuple(frames.shape[3:])}
        pipeline = RDVFI(**{**self.pipeline.components, **own}, **settings)
        result: Tensor
        if self.stage == 1:
            result = pipeline.along(before, after, self.latents(frames)).frames(time)
        else:
            result = pipeline.interpolate(before, after, time, torch.Generator().manual_seed(0))
        return result


def objective(
    weights: str | Path | None,
    tiny: bool,
    variant: Variant,
    backbone: str | Path | None = None,
    lpips: Sequence[str | Path] | None = None,
    latent_layout: Layout | None = None,
    direct: bool = False,
    losses: Losses = "full",
) -> RDVFIObjective:
    """What `vfi train --model rdvfi-d` or `rdvfi-u` trains.

    Args:
        weights: of the stage before; None: fresh ones, for stage 1.
        tiny: small networks of random weights.
        backbone: folder of the published files, see `files.from_backbone`.
        lpips: AlexNet's file and LPIPS' own; None: the distance of Laplacian pyramids takes its place.
        latent_layout: see `WanDiffusion`; None: as the weights say, else "image".
        direct: see `TrajectoryEstimator`; with weights, these say.
        losses: see `RDVFIObjective`.
    """
    perceptual = None if lpips is None else load_lpips(*lpips)
    if tiny and backbone is not None:
        raise ArgumentError("`tiny` has a small backbone of its own: give either `tiny` or `backbone`")
    if not tiny and backbone is None:
        wanted = f"`backbone`, the folder of {files.BACKBONES[variant]}"
        raise ArgumentError(f"the model rdvfi-{variant} needs {wanted}; nothing is downloaded")
    settings = chosen(weights, latent_layout, direct, tiny)
    pipeline = (
        files.tiny(variant, weights, **settings)
        if backbone is None
        else files.from_backbone(variant, backbone, weights, **settings)
    )
    trained = RDVFIObjective(pipeline, perceptual, losses)
    trained.fresh = weights is None
    return trained


def chosen(weights: str | Path | None, layout: Layout | None, direct: bool, tiny: bool) -> files.Settings:
    """Settings of the pipeline: those that are asked for, where the weights do not say otherwise.

    Raises:
        ArgumentError: if they do.
    """
    told = files.told(weights)
    asked: files.Settings = {"direct": True} if direct else {}
    if layout is not None:
        asked["latent_layout"] = layout
    for name, value in asked.items():
        if told.get(name, value) != value:
            raise ArgumentError(f"{weights} was trained with `{name}` {told[name]}, not {value}")
    if layout == "causal" and not tiny and "keyframes" not in told:
        asked["keyframes"] = CAUSAL_KEYFRAMES
    return asked
