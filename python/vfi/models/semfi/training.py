"""Training of SemFi's adapters: rectified flow, one number of frames in a batch, the base frozen."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from vfi.data.captioned.clips import CaptionedClips, ClipBatches, ClipSource, SyntheticClips
from vfi.errors import ArgumentError, UserError
from vfi.models.semfi.files import Adapters, adapter_state, load_adapters
from vfi.models.semfi.loading import BACKBONE, SHIFT, from_backbone, tiny
from vfi.models.semfi.mixture import SemFiTransformer
from vfi.models.semfi.options import FRAME_COUNTS, MULTIPLE
from vfi.models.semfi.pipeline import SemFi
from vfi.options import Dtype
from vfi.training.data import Data
from vfi.training.job import torch_dtype
from vfi.training.objective import Group, Objective, Outcome, Stage
from vfi.training.sources import Crop, made_up

UNIVERSAL = 0  # the adapter that always acts
WIDTH = 26 / 15  # of pictures, over their height: 832 over 480


class SemFiObjective(Objective):
    """The mean square error of the velocity, noise - latents, at a noise level drawn uniformly before the shift.

    A batch has clips of one length, so that one expert acts; the others have no gradient and stay as they are.

    experts: whether they are trained; else the universal adapter alone, a single LoRA. frames: clips of so many alone.
    Both are the paper's ablations.
    """

    stages = (
        Stage("the adapters, by rectified flow", 1, 32, 480, learning_rate=1e-4, final_rate=1e-4, weight_decay=1e-2),
    )
    multiple = MULTIPLE
    compares_frames = False
    trains_some = True

    def __init__(self, pipeline: SemFi, experts: bool = True, frames: int | None = None) -> None:
        super().__init__(Adapters(pipeline.transformer).float())
        self.experts, self.counts = experts, FRAME_COUNTS if frames is None else (frames,)
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
        for name, parameter in self.network.train().named_parameters():
            parameter.requires_grad_(self.experts or f".adapters.{UNIVERSAL}." in name)
        return [Group([parameter for parameter in self.network.parameters() if parameter.requires_grad])]

    def data(self, where: str, stage: Stage, seed: int, augment: bool, say: Callable[[str], None]) -> Data:
        """Clips with captions, never augmented: a caption may say left and right."""
        source = clips_of(where, sides(stage.crop), self.counts)

        def batches(start: int, stop: int, rank: int, processes: int) -> ClipBatches:
            return ClipBatches(source.counts, stage.batch, seed, start, stop, rank, processes)

        size = "x".join(map(str, sides(stage.crop)[::-1]))
        lengths = ", ".join(map(str, source.counts))
        kind = f"clips of {lengths} frames"
        steps = batches(0, 0, 0, 1).epoch_steps
        return Data(Captioned(source), captioned, batches, len(source), steps, kind, size, None)

    def outcome(self, frames: Tensor, captions: Any) -> Outcome:
        """frames: (B, N, 3, H, W); captions: B texts."""
        pipeline, transformer = self.pipeline, self.pipeline.transformer
        transformer.set_frames(frames.shape[1])
        with torch.no_grad():
            text, _ = pipeline.encode_prompt(list(captions), do_classifier_free_guidance=False, max_sequence_length=512)
            seen = torch.cat([pipeline.encode_image([clip[:1], clip[-1:]]) for clip in frames])
            latents, condition = encoded(pipeline, frames)
        noise = torch.randn_like(latents)
        drawn = torch.rand(len(frames), device=frames.device)
        sigma = SHIFT * drawn / (1 + (SHIFT - 1) * drawn)
        level = sigma.view(-1, 1, 1, 1, 1)
        noisy = (1 - level) * latents + level * noise
        kind = transformer.patch_embedding.weight.dtype
        velocity = transformer(
            hidden_states=torch.cat((noisy, condition), 1).to(kind),
            timestep=1000 * sigma,
            encoder_hidden_states=text.to(kind),
            encoder_hidden_states_image=seen.to(kind),
            return_dict=False,
        )[0].float()
        loss = (velocity - (noise - latents)).square().mean()
        return Outcome(loss, {}, noisy - level * velocity, latents)


class Captioned(Dataset[tuple[Tensor, str] | UserError]):
    """Clips by epoch and index. An error is handed on, since loader processes would bury it in a traceback."""

    def __init__(self, source: ClipSource) -> None:
        self.source = source

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, str] | UserError:
        try:
            return self.source.read(place[1])
        except UserError as error:
            return error


def captioned(samples: list[tuple[Tensor, str] | UserError]) -> tuple[Tensor, list[str]] | UserError:
    """Frames (B, N, 3, H, W) uint8 and captions, or the first error."""
    good = []
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
        good.append(sample)
    return torch.stack([frames for frames, _ in good]), [caption for _, caption in good]


def sides(crop: Crop) -> tuple[int, int]:
    """Of pictures: as given, or of a height alone in the proportions of SemFi's, 480 x 832."""
    return crop if isinstance(crop, tuple) else (crop, round(crop * WIDTH / MULTIPLE) * MULTIPLE)


def clips_of(where: str, size: tuple[int, int], counts: Sequence[int] = FRAME_COUNTS) -> ClipSource:
    """Of a manifest, or made up: "synthetic", or "synthetic:N"; those of so many frames."""
    count = made_up(where)
    if count is not None:
        return SyntheticClips(count, size, counts)
    if not Path(where).is_file():
        raise UserError(f"expected a manifest of clips, clips.jsonl, or the word synthetic, got {where}")
    return CaptionedClips(where, size, counts)


def encoded(pipeline: SemFi, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Latents (B, 16, K, h, w) of clips (B, N, 3, H, W), and mask and latents of what is given of them (20)."""
    vae, (count, _, height, width) = pipeline.vae, frames.shape[1:]
    encoded_frames = vae.encode((2 * frames.transpose(1, 2) - 1).to(vae.dtype)).latent_dist.mode().float()
    mean, std = (
        encoded_frames.new_tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std)
    )
    conditions = [
        pipeline.prepare_latents(
            2 * clip[:1] - 1, 1, len(mean[0]), height, width, count, torch.float32, frames.device,
            latents=encoded_frames[:1], last_image=2 * clip[-1:] - 1,
        )[1]
        for clip in frames
    ]  # fmt: skip
    return (encoded_frames - mean) / std, torch.cat(conditions)


def objective(
    weights: str | Path | None, tiny_networks: bool, backbone: str | Path | None = None, dtype: Dtype = "float32",
    experts: bool = True, frames: int | None = None,
) -> SemFiObjective:  # fmt: skip
    """What `vfi train --model semfi` trains.

    Args:
        weights: adapters to go on with; None: fresh ones.
        tiny_networks: a small SemFi of random weights.
        backbone: the folder of Wan's published files, or diffusers'.
        dtype: of the frozen base, "float32", "bfloat16" or "float16"; adapters are float32.
        experts, frames: see `SemFiObjective`.
    """
    base = torch_dtype(dtype, "dtype")
    if tiny_networks:
        if backbone is not None:
            raise ArgumentError("`tiny` has a small backbone of its own: give either `tiny` or `backbone`")
        pipeline = tiny()
        pipeline.transformer.reset_adapters()
        if weights is not None:
            load_adapters(pipeline.transformer, weights)
    elif backbone is None:
        raise ArgumentError(f"the model semfi needs `backbone`, the folder of {BACKBONE}; nothing is downloaded")
    else:
        pipeline = from_backbone(backbone, weights, base)
    if not experts and any_expert(pipeline.transformer):
        raise ArgumentError(f"{weights} holds experts that were trained; without `experts` begin with fresh adapters")
    return SemFiObjective(pipeline, experts, frames)


def any_expert(transformer: SemFiTransformer) -> bool:
    """Whether an adapter other than the universal one changes anything."""
    state = adapter_state(transformer)
    return any(
        bool(value.any()) for name, value in state.items()
        if ".lora_B." in name and f".adapters.{UNIVERSAL}." not in name
    )  # fmt: skip
