"""One step of latent video diffusion to the keyframes, on two backbones: Wan's transformer, SVD's U-Net."""

from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKLTemporalDecoder,
    AutoencoderKLWan,
    UNetSpatioTemporalConditionModel,
    WanTransformer3DModel,
)
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from transformers import CLIPVisionModel, CLIPVisionModelWithProjection

from vfi.errors import ArgumentError
from vfi.models.rdvfi.options import Layout
from vfi.networks.wan import clip_input

PROMPT_TOKENS = 512  # that Wan's attention expects beside an image
Context = TypeVar("Context")
CAUSAL_STEP = 4  # frames in a latent of Wan's causal layout

# Of Stable Video Diffusion
SIGMA_LEAST, SIGMA_MOST, RHO = 0.002, 700.0, 7.0
ADDED_TIME = (6.0, 127.0, 0.02)  # frames per second - 1, motion bucket, noise on the image


class EmptyPrompt(ModelMixin, ConfigMixin):
    """What the text encoder makes of the empty prompt: its one token; the other 511 rows that Wan sees are 0."""

    @register_to_config
    def __init__(self, dim: int = 4096) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(1, dim), requires_grad=False)

    def forward(self, batch: int) -> Tensor:
        """(batch, 512, dim)."""
        return F.pad(self.embedding, (0, 0, 0, PROMPT_TOKENS - 1)).expand(batch, -1, -1)


class Diffusion(Protocol[Context]):
    """What the keyframes are drawn with. Latents are normalised; time is 0 without noise, 1 at the most."""

    multiple: int  # of which the low resolution's height and width must be

    def encode(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) in [0, 1], each alone -> latents (N, C, H / 8, W / 8) float32."""

    def context(self, frame0: Tensor, frame1: Tensor) -> Context:
        """What the denoiser knows of the frames (B, 3, H, W) beside their latents."""

    def noisy(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Latents (B, K, C, h, w) at `time` (B,)."""

    def wanted(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The velocity that the denoiser should give."""

    def clean(self, noisy: Tensor, velocity: Tensor, time: Tensor) -> Tensor:
        """The latents, by one step from `time` to 0."""

    def velocity(self, noisy: Tensor, time: Tensor, condition: Tensor, context: Context) -> Tensor:
        """What the denoiser gives. known: (B, K, C, h, w), as `conditioning` makes it."""

    def conditioning(self, ends: Tensor, low0: Tensor, low1: Tensor, count: int) -> Tensor:
        """Of the latents (B, 2, C, h, w) of two frames, what the denoiser is given beside `count` noisy ones."""


def spread(time: Tensor) -> Tensor:
    return time.view(-1, 1, 1, 1, 1)


def encoded_in(vae: AutoencoderKLWan | AutoencoderKLTemporalDecoder, frames: Tensor) -> Tensor:
    """The mode of what a VAE makes of frames in [0, 1]."""
    result: Tensor = vae.encode((2 * frames - 1).to(vae.dtype)).latent_dist.mode().float()
    return result


class WanDiffusion:
    """Flow matching with the transformer of Wan2.1-Fun-InP (image and mask beside the noise).

    latent_layout: "image": each end is encoded alone and is one latent, so that every latent is of one instant;
    "causal": the latents are those of a clip, the first of a frame and each other of four, as Wan was trained.
    """

    multiple = 16

    def __init__(
        self,
        denoiser: WanTransformer3DModel,
        vae: AutoencoderKLWan,
        image_encoder: CLIPVisionModel,
        prompt: EmptyPrompt,
        latent_layout: Layout,
    ) -> None:
        self.denoiser, self.vae, self.image_encoder, self.prompt = denoiser, vae, image_encoder, prompt
        self.causal = latent_layout == "causal"

    def encode(self, frames: Tensor) -> Tensor:
        return self.encode_clip(frames[:, None])[:, 0]

    def encode_clip(self, frames: Tensor) -> Tensor:
        """Clips (B, 4 K - 3, 3, H, W) -> (B, K, C, h, w)."""
        latents = encoded_in(self.vae, frames.transpose(1, 2)).transpose(1, 2)
        mean, std = (
            latents.new_tensor(values).view(1, 1, -1, 1, 1)
            for values in (self.vae.config.latents_mean, self.vae.config.latents_std)
        )
        return (latents - mean) / std

    def context(self, frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
        """The embedding of the empty prompt, and CLIP's features before its last layer, of frame 0 alone."""
        seen = self.image_encoder(clip_input(frame0, self.image_encoder), output_hidden_states=True)
        return self.prompt(len(frame0)), seen.hidden_states[-2]

    def noisy(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        return (1 - spread(time)) * latents + spread(time) * noise

    def wanted(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        return noise - latents

    def clean(self, noisy: Tensor, velocity: Tensor, time: Tensor) -> Tensor:
        return noisy - spread(time) * velocity

    def conditioning(self, ends: Tensor, low0: Tensor, low1: Tensor, count: int) -> Tensor:
        """The mask (4 channels, 1 at what is given) and the latents of what is given."""
        batch, _, _, h, w = ends.shape
        mask = ends.new_zeros(batch, count, 4, h, w)
        mask[:, 0] = 1
        if not self.causal:
            mask[:, -1] = 1
            latents = torch.zeros_like(ends[:, :1]).repeat(1, count, 1, 1, 1)
            latents[:, 0], latents[:, -1] = ends.unbind(1)
            return torch.cat((mask, latents), 2)
        mask[:, -1, -1] = 1  # the last of the four frames
        gray = torch.full_like(low0, 0.5)  # 0 as the VAE sees it
        clip = torch.stack((low0, *[gray] * (CAUSAL_STEP * (count - 1) - 1), low1), 1)
        return torch.cat((mask, self.encode_clip(clip)), 2)

    def velocity(self, noisy: Tensor, time: Tensor, condition: Tensor, context: tuple[Tensor, Tensor]) -> Tensor:
        dtype, (prompt, image) = self.denoiser.patch_embedding.weight.dtype, context  # others stay float32
        predicted = self.denoiser(
            hidden_states=torch.cat((noisy, condition), 2).transpose(1, 2).to(dtype),
            timestep=1000 * time,
            encoder_hidden_states=prompt.to(dtype),
            encoder_hidden_states_image=image.to(dtype),
            return_dict=False,
        )[0]
        result: Tensor = predicted.transpose(1, 2).float()
        return result


class SVDDiffusion:
    """Velocity prediction with the U-Net of Stable Video Diffusion, whose input has four channels more for frame 1."""

    multiple = 64

    def __init__(
        self,
        denoiser: UNetSpatioTemporalConditionModel,
        vae: AutoencoderKLTemporalDecoder,
        image_encoder: CLIPVisionModelWithProjection,
    ) -> None:
        self.denoiser, self.vae, self.image_encoder = denoiser, vae, image_encoder

    def encode(self, frames: Tensor) -> Tensor:
        result: Tensor = self.vae.config.scaling_factor * encoded_in(self.vae, frames)
        return result

    def context(self, frame0: Tensor, frame1: Tensor) -> Tensor:
        """CLIP's embeddings of both frames, (B, 2, dim)."""
        frames = torch.cat((frame0, frame1))
        embeddings = self.image_encoder(clip_input(frames, self.image_encoder, antialias=True)).image_embeds
        return torch.stack(embeddings.chunk(2), 1)

    def conditioning(self, ends: Tensor, low0: Tensor, low1: Tensor, count: int) -> Tensor:
        """Both latents, as the VAE gives them, beside every frame."""
        both = ends.flatten(1, 2) / self.vae.config.scaling_factor
        result: Tensor = both[:, None].expand(-1, count, -1, -1, -1)
        return result

    def sigma(self, time: Tensor) -> Tensor:
        """Noise per signal, along Karras' schedule."""
        least, most = SIGMA_LEAST ** (1 / RHO), SIGMA_MOST ** (1 / RHO)
        result: Tensor = (least + time * (most - least)) ** RHO
        return result

    def shares(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Of signal and noise; their squares add up to 1."""
        angle = torch.atan(spread(self.sigma(time)))
        return torch.cos(angle), torch.sin(angle)

    def noisy(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        signal, share = self.shares(time)
        return signal * latents + share * noise

    def wanted(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        signal, share = self.shares(time)
        return signal * noise - share * latents

    def clean(self, noisy: Tensor, velocity: Tensor, time: Tensor) -> Tensor:
        signal, share = self.shares(time)
        return signal * noisy - share * velocity

    def velocity(self, noisy: Tensor, time: Tensor, condition: Tensor, context: Tensor) -> Tensor:
        dtype = self.denoiser.conv_in.weight.dtype
        added = torch.tensor([ADDED_TIME], device=noisy.device, dtype=dtype).expand(len(noisy), -1)
        result: Tensor = self.denoiser(
            torch.cat((noisy, condition), 2).to(dtype),
            0.25 * self.sigma(time).log(),
            context.to(dtype),
            added_time_ids=added,
            return_dict=False,
        )[0].float()
        return result


def widened(unet: UNetSpatioTemporalConditionModel) -> UNetSpatioTemporalConditionModel:
    """SVD's U-Net with four input channels more, at first without effect; as it is if it has them already."""
    before = unet.conv_in
    if before.in_channels == 12:
        return unet
    if before.in_channels != 8:
        raise ArgumentError(f"expected a U-Net of 8 or 12 input channels, got {before.in_channels}")
    wider = nn.Conv2d(12, before.out_channels, before.kernel_size, before.stride, before.padding)
    with torch.no_grad():
        wider.weight.zero_()
        wider.weight[:, :8] = before.weight
        torch.as_tensor(wider.bias).copy_(torch.as_tensor(before.bias))
    unet.conv_in = wider.to(before.weight.device, before.weight.dtype)
    unet.register_to_config(in_channels=12)
    return unet
