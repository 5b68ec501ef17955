"""RDVFI from files: a folder of its own, or the published files of a backbone and RDVFI's own weights."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKLTemporalDecoder, AutoencoderKLWan, UNetSpatioTemporalConditionModel
from diffusers import WanTransformer3DModel as WanTransformer
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

from vfi.errors import UserError
from vfi.files import checkpoints
from vfi.models import recognition
from vfi.models.rdvfi.diffusion import EmptyPrompt, widened
from vfi.models.rdvfi.estimator import TrajectoryEstimator
from vfi.models.rdvfi.model import RDVFI
from vfi.models.rdvfi.options import LAYOUTS, Variant
from vfi.models.rdvfi.synthesis import FrameSynthesis
from vfi.networks import wan
from vfi.networks.diffusers_folders import check_network, check_networks, check_values, held_by
from vfi.options import whole

BACKBONES: dict[Variant, str] = {"d": "Wan2.1-Fun-1.3B-InP", "u": "stable-video-diffusion-img2vid"}
Network = TypeVar("Network", bound=nn.Module)
Settings = dict[str, Any]  # of `RDVFI`, and `direct` of its estimator
OWN = ("estimator", "synthesis", "prompt", "denoiser")  # what a file of weights may hold
EXACT = ("estimator", "vae")  # float32 always: trajectories are worth it, and both VAEs are unsafe or slow in half
TINY_SIZE = (64, 64)


def load(folder: str | Path, dtype: torch.dtype | None = None) -> RDVFI:
    """A folder that `RDVFI.save_pretrained` wrote; dtype: of all but EXACT; None: as it is stored."""
    path = Path(folder)
    held_by(path, RDVFI.__name__)
    check_networks(path)
    try:
        kinds = None if dtype is None else {"default": dtype, **dict.fromkeys(EXACT, torch.float32)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # diffusers renames torch_dtype; older ones know only that
            pipeline = RDVFI.from_pretrained(str(path), local_files_only=True, use_safetensors=True, torch_dtype=kinds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{folder} cannot be read as RDVFI: {str(error).splitlines()[0]}") from error
    check_values(pipeline, folder)
    return finished(pipeline)


def from_backbone(
    variant: Variant,
    folder: str | Path,
    weights: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> RDVFI:
    """The published files of a backbone, and RDVFI's own weights.

    Args:
        variant: "d": Wan2.1-Fun-1.3B-InP, one safetensors file of the transformer, Wan2.1_VAE.pth, the files of CLIP
            and, unless the weights hold the embedding of the empty prompt, of T5, all in `folder`; "u":
            stable-video-diffusion-img2vid, a folder of diffusers.
        weights: a state dict of RDVFI's own networks, as training writes it: estimator, synthesis and, after stage 2,
            the denoiser; None: fresh ones, and the denoiser as published.
        dtype: of all but EXACT.
        settings: of `RDVFI`, such as warp="backward", and `direct` of its estimator; None given: as the weights say.

    Raises:
        UserError: if a file is missing or is not what it should be.
    """
    path = Path(folder)
    if variant not in BACKBONES:
        raise UserError(f"expected the variant {' or '.join(BACKBONES)}, got {variant!r}")
    state = {} if weights is None else _own(weights, variant)
    settings = {**told(weights), **settings}
    if not path.is_dir():
        raise UserError(f"expected the folder of {BACKBONES[variant]}, got {folder}")
    pipeline = (_wan if variant == "d" else _svd)(path, state, dtype, settings)
    if weights is not None:
        put(pipeline, state, weights)
    return finished(pipeline)


def _wan(folder: Path, state: Mapping[str, Tensor], dtype: torch.dtype, settings: Settings) -> RDVFI:
    embedding = state.get("prompt.embedding")
    files = wan.find(folder, text_encoder=embedding is None)
    if embedding is None:
        embedding = wan.empty_prompt(wan.text_encoder(files.text_encoder))[0, :1]
    if embedding.dim() != 2 or len(embedding) != 1:
        raise UserError(f"expected prompt.embedding of shape (1, width), got {tuple(embedding.shape)}")
    prompt = EmptyPrompt(embedding.shape[-1])
    prompt.embedding.data.copy_(embedding)
    vae = wan.vae(files.vae, torch.float32)
    return RDVFI(
        wan.transformer(files.transformer, dtype), vae, wan.image_encoder(files.image_encoder, dtype),
        *own_networks(vae.config.z_dim, dtype, settings), in_dtype(prompt, dtype), **_of_pipeline(settings),
    )  # fmt: skip


def _svd(folder: Path, state: Mapping[str, Tensor], dtype: torch.dtype, settings: Settings) -> RDVFI:
    def part(kind: Any, name: str) -> Any:
        if not (folder / name).is_dir():
            raise UserError(f"expected the folder {name} of {BACKBONES['u']} in {folder}")
        half = any((folder / name).glob("*.fp16.safetensors")) and not any(
            file for file in (folder / name).glob("*.safetensors") if ".fp16." not in file.name
        )
        check_network(folder / name, kind, sorted((folder / name).glob("*.fp16.safetensors")) if half else None)
        wanted = torch.float32 if name in EXACT else dtype
        options = {
            "local_files_only": True,
            "use_safetensors": True,
            "torch_dtype": wanted,
            **({"variant": "fp16"} if half else {}),
        }
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                return kind.from_pretrained(str(folder / name), **options)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(f"{folder / name} cannot be read: {str(error).splitlines()[0]}") from error

    vae = part(AutoencoderKLTemporalDecoder, "vae")
    channels = vae.config.latent_channels
    return RDVFI(
        widened(part(UNetSpatioTemporalConditionModel, "unet")), vae,
        part(CLIPVisionModelWithProjection, "image_encoder"), *own_networks(channels, dtype, settings),
        **_of_pipeline(settings),
    )  # fmt: skip


def own_networks(channels: int, dtype: torch.dtype, settings: Settings) -> tuple[TrajectoryEstimator, FrameSynthesis]:
    estimator = TrajectoryEstimator(channels, direct=settings.get("direct", False))
    return estimator, in_dtype(FrameSynthesis(channels), dtype)


def _of_pipeline(settings: Settings) -> Settings:
    """Those of `RDVFI`, without the estimator's."""
    return {name: value for name, value in settings.items() if name != "direct"}


def told(weights: str | Path | None) -> Settings:
    """What a file of weights says of the networks in it, beside their sizes: settings of `from_backbone`."""
    notes = {} if weights is None else checkpoints.notes(Path(weights))
    settings: Settings = {}
    if notes.get("latent_layout") in LAYOUTS:
        settings["latent_layout"] = notes["latent_layout"]
    if notes.get("keyframes", "").isdecimal():
        settings["keyframes"] = int(notes["keyframes"])
    if notes.get("direct") in ("True", "False"):
        settings["direct"] = notes["direct"] == "True"
    return settings


def in_dtype(network: Network, dtype: torch.dtype) -> Network:
    """`to`, without diffusers' warning about parts that should stay float32, of which ours have none."""
    nn.Module.to(network, dtype)
    return network


def _own(weights: str | Path, variant: Variant) -> dict[str, Tensor]:
    """What a file holds of RDVFI's own networks."""
    state = checkpoints.read(weights)
    recognition.expect(state, weights, f"RDVFI-{variant.upper()}")
    return state


def put(pipeline: RDVFI, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Weights of RDVFI's own networks, by the names of the parts; the denoiser's and the prompt's may be absent."""
    own = nn.ModuleDict({name: part for name in OWN if (part := getattr(pipeline, name, None)) is not None})
    checkpoints.load_into(own, state, path, missing=("denoiser.", "prompt."), called="RDVFI's own networks")


def finished(pipeline: RDVFI) -> RDVFI:
    """Ready to interpolate."""
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    return pipeline


def tiny(variant: Variant = "d", weights: str | Path | None = None, seed: int = 0, **settings: Any) -> RDVFI:
    """A fresh, small RDVFI, of random weights: to try things out, and for tests.

    Untrained, it finds no motion and gives the mean of the frames, as one of the published size does.

    Args:
        variant: "d" or "u".
        weights: of a training of tiny networks; None: fresh ones.
        seed: of the random weights; a training of tiny networks has 0.
        settings: of `RDVFI`, and `direct` of its estimator.
    """
    if variant not in BACKBONES:
        raise UserError(f"expected the variant {' or '.join(BACKBONES)}, got {variant!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(whole("seed", seed, 0, most=2**63 - 1))
        made = _tiny(variant, {"low_size": TINY_SIZE, "keyframes": 3, **told(weights), **settings})
    if weights is not None:
        put(made, _own(weights, variant), weights)
    return finished(made)


def _tiny(variant: Variant, settings: Settings) -> RDVFI:
    direct = settings.get("direct", False)
    clip = CLIPVisionConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16,
        projection_dim=16,
    )  # fmt: skip
    if variant == "d":
        denoiser = WanTransformer(
            num_attention_heads=2, attention_head_dim=12, in_channels=36, out_channels=16, text_dim=32, freq_dim=32,
            ffn_dim=48, num_layers=2, image_dim=24, added_kv_proj_dim=24, cross_attn_norm=True,
            qk_norm="rms_norm_across_heads", rope_max_seq_len=64,
        )  # fmt: skip
        vae = AutoencoderKLWan(
            base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
        )
        return RDVFI(
            denoiser, vae, CLIPVisionModel(clip), TrajectoryEstimator(16, 16, 2, direct), FrameSynthesis(16, 8),
            EmptyPrompt(32), **_of_pipeline(settings),
        )  # fmt: skip
    unet = UNetSpatioTemporalConditionModel(
        in_channels=8, out_channels=4, block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"), layers_per_block=1,
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=24, cross_attention_dim=16,
        num_attention_heads=(2, 4), num_frames=5,
    )  # fmt: skip
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=1,
        latent_channels=4,
    )  # fmt: skip
    return RDVFI(
        widened(unet), vae, CLIPVisionModelWithProjection(clip), TrajectoryEstimator(4, 16, 2, direct),
        FrameSynthesis(4, 8), **_of_pipeline(settings),
    )  # fmt: skip
