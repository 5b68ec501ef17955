"""RDVFI as a diffusers pipeline: latents of both frames, keyframes by one step of diffusion, trajectories, frames."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, WanTransformer3DModel
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from vfi.errors import ArgumentError
from vfi.models.rdvfi.diffusion import Diffusion, EmptyPrompt, SVDDiffusion, WanDiffusion
from vfi.models.rdvfi.estimator import TrajectoryEstimator
from vfi.models.rdvfi.explanation import TrajectoryExplanation
from vfi.models.rdvfi.options import LAYOUTS, WARPS, Layout, Variant, Warp
from vfi.models.rdvfi.synthesis import FrameSynthesis
from vfi.models.rdvfi.trajectory import Trajectory
from vfi.networks.sized_inference import check_finite, check_frames, times_of
from vfi.options import whole

Generators = torch.Generator | list[torch.Generator] | None


class RDVFI(DiffusionPipeline):
    """Frames between two frames from continuous trajectories of their pixels, which diffusion determines.

    A diffusers pipeline: `save_pretrained` and `from_pretrained` of a folder, `to`, `enable_model_cpu_offload`.

    Args:
        denoiser: WanTransformer3DModel with 36 input channels (RDVFI-D), or UNetSpatioTemporalConditionModel with 12
            (RDVFI-U; `diffusion.widened` makes them of 8).
        vae: AutoencoderKLWan, or AutoencoderKLTemporalDecoder.
        image_encoder: CLIPVisionModel, or CLIPVisionModelWithProjection.
        estimator, synthesis: RDVFI's own networks.
        prompt: the embedding of the empty prompt, for Wan.
        low_size: height and width at which motion is found; turned for pictures that are higher than wide.
        keyframes: drawn between the two frames.
        latent_layout: "image" or "causal" (Wan only), see `WanDiffusion`.
        warp: "forward" or "backward", see `Trajectory`.
        a: parameter of Keys' cubic convolution along time.

    Source: Realtime Video Frame Interpolation Using One-Step Diffusion Sampling, ICLR 2026. Without public code: widths
    are choices, listed in docs/rdvfi.md.
    """

    channel_order = "rgb"
    any_time = True
    model_cpu_offload_seq = "image_encoder->vae->denoiser"
    _exclude_from_cpu_offload = ["prompt", "estimator", "synthesis"]  # noqa: RUF012  (diffusers' own way)
    _optional_components = ["prompt"]  # noqa: RUF012

    def __init__(
        self,
        denoiser: Any,
        vae: Any,
        image_encoder: Any,
        estimator: TrajectoryEstimator,
        synthesis: FrameSynthesis,
        prompt: EmptyPrompt | None = None,
        low_size: list[int] | tuple[int, int] = (256, 448),
        keyframes: int = 7,
        latent_layout: Layout = "image",
        warp: Warp = "forward",
        a: float = -0.5,
    ) -> None:
        super().__init__()
        if latent_layout not in LAYOUTS or warp not in WARPS:
            raise ArgumentError(
                f"RDVFI: expected latent_layout {' or '.join(LAYOUTS)} and warp {' or '.join(WARPS)}, "
                f"got {latent_layout!r} and {warp!r}"
            )
        whole("keyframes", keyframes, 1)
        self.register_modules(
            denoiser=denoiser, vae=vae, image_encoder=image_encoder, estimator=estimator, synthesis=synthesis,
            prompt=prompt,
        )  # fmt: skip
        self.register_to_config(
            low_size=tuple(low_size), keyframes=keyframes, latent_layout=latent_layout, warp=warp, a=a
        )
        wan = self.variant == "d"
        channels = denoiser.config.in_channels
        if channels != (36 if wan else 12):
            name = type(denoiser).__name__
            raise ArgumentError(f"RDVFI: expected a {name} of {36 if wan else 12} input channels, got {channels}")
        if wan and prompt is None:
            raise ArgumentError(
                "RDVFI: expected the embedding of the empty prompt, prompt, with a WanTransformer3DModel"
            )
        if not wan and latent_layout != "image":
            raise ArgumentError("RDVFI: expected latent_layout 'image' with a U-Net, whose VAE encodes images")
        if any(whole("low_size", side, 1) % self.diffusion.multiple for side in low_size):
            raise ArgumentError(
                f"RDVFI: expected a low_size of multiples of {self.diffusion.multiple}, got {tuple(low_size)}"
            )

    @property
    def diffusion(self) -> Diffusion[Any]:
        if self.variant == "d":
            return WanDiffusion(self.denoiser, self.vae, self.image_encoder, self.prompt, self.config.latent_layout)
        return SVDDiffusion(self.denoiser, self.vae, self.image_encoder)

    @property
    def variant(self) -> Variant:
        """ "d" on a diffusion transformer, "u" on a U-Net."""
        denoiser = getattr(self.denoiser, "_orig_mod", self.denoiser)  # of one that torch.compile wrapped
        return "d" if isinstance(denoiser, WanTransformer3DModel) else "u"

    @property
    def nodes(self) -> int:
        """Latents in time: the keyframes and both ends."""
        result: int = self.config.keyframes + 2
        return result

    @torch.no_grad()
    def trajectory(
        self,
        frame0: Tensor,
        frame1: Tensor,
        generator: Generators = None,
    ) -> Trajectory:
        """Everything that is done once for a pair, at the low resolution.

        Args:
            frame0, frame1: (B, 3, H, W) in [0, 1], RGB, any floating dtype; any size.
            generator: of the noise that the keyframes are drawn from; a list: one for each of the B.
        """
        check_frames(frame0, frame1)
        check_finite(frame0, frame1)
        device = self._execution_device
        frame0, frame1 = frame0.to(device), frame1.to(device)
        low0, low1 = self.lowered(frame0), self.lowered(frame1)
        ends = self.encode_ends(low0, low1)
        noise = randn_tensor(
            (len(low0), self.nodes, *ends.shape[2:]), generator=generator, device=device, dtype=torch.float32
        )
        latents = self.drawn(ends, low0, low1, noise, torch.ones(len(low0), device=device))[0]
        result = self.along(frame0, frame1, latents)
        self.maybe_free_model_hooks()
        return result

    def lowered(self, frame: Tensor) -> Tensor:
        """Float32 at the low resolution."""
        low = tuple(self.config.low_size)
        if frame.shape[2] > frame.shape[3]:
            low = low[::-1]
        if frame.shape[2:] == low:
            return frame.float()
        return F.interpolate(frame.float(), low, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)

    def encode_ends(self, low0: Tensor, low1: Tensor) -> Tensor:
        """(B, 2, C, h, w)."""
        return torch.stack(self.diffusion.encode(torch.cat((low0, low1))).chunk(2), 1)

    def drawn(self, ends: Tensor, low0: Tensor, low1: Tensor, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """One step of diffusion.

        Args:
            ends: latents (B, 2, C, h, w) of the frames low0 and low1.
            noisy: (B, nodes, C, h, w) at `time` (B,).

        Returns:
            Latents (B, nodes, C, h, w), with `ends` at the ends, and the denoiser's velocity.
        """
        diffusion = self.diffusion
        with torch.no_grad():
            context = diffusion.context(low0, low1)
            condition = diffusion.conditioning(ends, low0, low1, self.nodes)
        velocity = diffusion.velocity(noisy, time, condition, context)
        clean = diffusion.clean(noisy, velocity, time)
        return torch.cat((ends[:, :1], clean[:, 1:-1], ends[:, 1:]), 1), velocity

    def along(self, frame0: Tensor, frame1: Tensor, latents: Tensor) -> Trajectory:
        """The trajectory that latents (B, nodes, C, h, w) give."""
        motion = self.estimator(latents)
        return Trajectory(frame0, frame1, motion, latents, self.synthesis, self.config.warp, self.config.a)

    def interpolate(
        self, frame0: Tensor, frame1: Tensor, taus: float | Sequence[float], generator: Generators = None
    ) -> Any:
        """Frames at the times `taus` between two frames; the diffusion runs once, however many they are.

        Args:
            frame0, frame1: (B, 3, H, W) in [0, 1], RGB; any size, any floating dtype.
            taus: in [0, 1], or several; 0 and 1 return the frames themselves.
            generator: of the noise; None: torch's own.

        Returns:
            (B, 3, H, W) of the frames' dtype, or a list of them.

        Raises:
            ArgumentError: if a shape or time is none of the above.
        """
        check_frames(frame0, frame1)
        times, alone = times_of(taus)
        if all(time in (0, 1) for time in times):
            frames = [(frame1 if time else frame0).clone() for time in times]
        else:
            frames = self.trajectory(frame0, frame1, generator).frames(times)
        return frames[0] if alone else frames

    def __call__(
        self, frame0: Tensor, frame1: Tensor, taus: float | Sequence[float], generator: Generators = None
    ) -> Any:
        """`interpolate`."""
        return self.interpolate(frame0, frame1, taus, generator)

    def explain(self, frame0: Tensor, frame1: Tensor, t: float, generator: Generators = None) -> TrajectoryExplanation:
        """The trajectories behind the frame at t, for pictures."""
        return TrajectoryExplanation(self.trajectory(frame0, frame1, generator))
