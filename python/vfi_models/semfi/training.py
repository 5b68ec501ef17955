"""Training of SemFi's adapters: rectified flow, one number of frames in a batch, the base frozen."""

from typing import Any

import torch
from torch import Tensor, nn

from vfi_models.errors import UserError
from vfi_models.semfi.files import Adapters, load_adapters
from vfi_models.semfi.loading import BACKBONE, SHIFT, from_backbone, tiny
from vfi_models.semfi.pipeline import MULTIPLE, SemFi
from vfi_models.training.job import PRECISIONS
from vfi_models.training.objective import Group, Objective, Outcome, Stage

WIDTH = 26 / 15  # of pictures, over their height: 832 over 480


class SemFiObjective(Objective):
    """The mean square error of the velocity, noise - latents, at a noise level drawn uniformly before the shift.

    A batch has clips of one length, so that one expert acts; the others have no gradient and stay as they are.
    """

    stages = (
        Stage("the adapters, by rectified flow", 1, 32, 480, learning_rate=1e-4, final_rate=1e-4, weight_decay=1e-2),
    )
    multiple = MULTIPLE
    compares_frames = False
    trains_some = True

    def __init__(self, pipeline: SemFi) -> None:
        super().__init__(Adapters(pipeline.transformer).float())
        self.network.channel_order = "rgb"
        self.pipeline = pipeline  # no module: its frozen parts are no part of the state

    def to(self, *arguments: Any, **options: Any) -> "SemFiObjective":
        """Moves the frozen parts too."""
        for part in self.pipeline.components.values():
            if isinstance(part, nn.Module):
                part.to(*arguments, **options)
        return super().to(*arguments, **options)

    def begin(self, stage: int) -> list[Group]:
        for part in self.pipeline.components.values():
            if isinstance(part, nn.Module):
                part.eval().requires_grad_(False)
        self.pipeline.transformer.enable_gradient_checkpointing()
        self.network.train().requires_grad_(True)
        return [Group(list(self.network.parameters()))]

    def outcome(self, frames: Tensor, captions: Any) -> Outcome:
        """frames: (B, N, 3, H, W); captions: B texts."""
        pipeline, transformer = self.pipeline, self.pipeline.transformer
        transformer.set_frames(frames.shape[1])
        with torch.no_grad():
            text, _ = pipeline.encode_prompt(list(captions), do_classifier_free_guidance=False, max_sequence_length=512)
            seen = torch.cat([pipeline.encode_image([clip[:1], clip[-1:]]) for clip in frames])
            latents, known = encoded(pipeline, frames)
        noise = torch.randn_like(latents)
        drawn = torch.rand(len(frames), device=frames.device)
        sigma = SHIFT * drawn / (1 + (SHIFT - 1) * drawn)
        level = sigma.view(-1, 1, 1, 1, 1)
        noisy = (1 - level) * latents + level * noise
        kind = transformer.patch_embedding.weight.dtype
        velocity = transformer(
            hidden_states=torch.cat((noisy, known), 1).to(kind),
            timestep=1000 * sigma,
            encoder_hidden_states=text.to(kind),
            encoder_hidden_states_image=seen.to(kind),
            return_dict=False,
        )[0].float()
        loss = (velocity - (noise - latents)).square().mean()
        return Outcome(loss, {}, noisy - level * velocity, latents)


def encoded(pipeline: SemFi, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Latents (B, 16, K, h, w) of clips (B, N, 3, H, W), and mask and latents of what is given of them (20)."""
    vae, (count, _, height, width) = pipeline.vae, frames.shape[1:]
    found = vae.encode((2 * frames.transpose(1, 2) - 1).to(vae.dtype)).latent_dist.mode().float()
    mean, std = (found.new_tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    known = [
        pipeline.prepare_latents(
            2 * clip[:1] - 1, 1, len(mean[0]), height, width, count, torch.float32, frames.device,
            last_image=2 * clip[-1:] - 1,
        )[1]
        for clip in frames
    ]  # fmt: skip
    return (found - mean) / std, torch.cat(known)


def objective(
    weights: str | None, tiny_networks: bool, backbone: str | None = None, dtype: str | None = None
) -> SemFiObjective:
    """What `vfi train --model semfi` trains.

    Args:
        weights: adapters to go on with; None: fresh ones.
        tiny_networks: a small SemFi of random weights.
        backbone: the folder of Wan's published files, or diffusers'.
        dtype: of the frozen base, "float32", "bfloat16" or "float16"; adapters are float32.
    """
    if dtype is not None and dtype not in PRECISIONS:
        raise UserError(f"expected --dtype {', '.join(PRECISIONS)}, got {dtype}")
    if tiny_networks:
        if backbone is not None:
            raise UserError("--tiny has a small backbone of its own: give either --tiny or --backbone")
        pipeline = tiny()
        for _, layer in pipeline.transformer.mixtures():
            for adapter in layer.adapters.children():
                adapter.reset_parameters()
        if weights is not None:
            load_adapters(pipeline.transformer, weights)
        return SemFiObjective(pipeline)
    if backbone is None:
        raise UserError(f"the model semfi needs --backbone, the folder of {BACKBONE}; nothing is downloaded")
    return SemFiObjective(from_backbone(backbone, weights, PRECISIONS[dtype or "float32"]))
