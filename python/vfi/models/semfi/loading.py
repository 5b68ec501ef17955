"""SemFi from files: a folder of its own, or Wan's published files and the adapters."""

import warnings
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import nn
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerBase,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

from vfi.errors import ArgumentError, UserError
from vfi.models.semfi.files import load_adapters, read_adapters
from vfi.models.semfi.mixture import RANK, SemFiTransformer, with_adapters
from vfi.models.semfi.options import FRAME_COUNTS
from vfi.models.semfi.pipeline import SemFi
from vfi.models.semfi.scheduler import ShiftedEuler
from vfi.networks import wan
from vfi.networks.diffusers_folders import INDEX, check_networks, check_values, held_by
from vfi.options import whole

BACKBONE = "Wan2.1-I2V-14B-720P"
SHIFT = 5.0
TOKENIZERS = ("tokenizer", "google/umt5-xxl")  # folders of diffusers', of Wan's own files


def load(folder: str | Path, dtype: torch.dtype | None = None) -> SemFi:
    """A folder that `SemFi.save_pretrained` wrote; dtype: of all but the VAE, None: as it is stored."""
    path = Path(folder)
    held_by(path, SemFi.__name__)
    check_networks(path)
    kinds = None if dtype is None else {"default": dtype, "vae": torch.float32}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # diffusers renames torch_dtype; older ones know only that
            pipeline: SemFi = SemFi.from_pretrained(
                str(path), local_files_only=True, use_safetensors=True, torch_dtype=kinds
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{folder} cannot be read as SemFi: {str(error).splitlines()[0]}") from error
    if not isinstance(pipeline.transformer, SemFiTransformer):
        raise ArgumentError(
            f"{folder} holds a {type(pipeline.transformer).__name__} without adapters; give it as `backbone`"
        )
    check_values(pipeline, folder)
    return pipeline


def from_backbone(
    folder: str | Path,
    adapters: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    shift: float = SHIFT,
) -> SemFi:
    """Wan2.1-I2V-14B-720P from its published files or from diffusers' folder, with adapters.

    Args:
        folder: as `vfi.networks.wan.find` takes it, with the tokenizer in `tokenizer` or `google/umt5-xxl`.
        adapters: semfi.ckpt, or those of a training; None: fresh ones, which change nothing.
        dtype: of all but the VAE.
        shift: of the noise schedule.

    Raises:
        UserError: if a file is missing or is not what it should be.
    """
    index = Path(folder) / INDEX
    if index.is_file() and f'"{SemFi.__name__}"' in index.read_text(errors="replace"):
        raise ArgumentError(f"{folder} holds a whole SemFi: give it as `weights`, or to load")
    if adapters is not None:
        read_adapters(adapters)  # before the backbone, which takes long
    files, tokenizer = wan.find(folder), tokenizer_in(Path(folder))
    transformer = with_adapters(wan.transformer(files.transformer, dtype))
    if adapters is not None:
        load_adapters(transformer, adapters)
    text, image = wan.text_encoder(files.text_encoder, dtype), wan.image_encoder(files.image_encoder, dtype)
    return assembled(tokenizer, text, wan.vae(files.vae, torch.float32), image, transformer, shift)


def tokenizer_in(folder: Path) -> PreTrainedTokenizerBase:
    for name in TOKENIZERS:
        if (folder / name).is_dir():
            try:
                return AutoTokenizer.from_pretrained(str(folder / name), local_files_only=True)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise UserError(f"{folder / name} is no tokenizer: {str(error).splitlines()[0]}") from error
    raise UserError(f"expected a tokenizer in {folder}, in the folder {' or '.join(TOKENIZERS)}")


def assembled(
    tokenizer: PreTrainedTokenizerBase,
    text: UMT5EncoderModel,
    vae: AutoencoderKLWan,
    image: CLIPVisionModel,
    transformer: SemFiTransformer,
    shift: float,
) -> SemFi:
    """The pipeline, ready to generate."""
    for part in (text, vae, image, transformer):
        part.eval().requires_grad_(False)
    return SemFi(tokenizer, text, vae, ShiftedEuler(shift=shift), None, image, transformer)


def tiny(seed: int = 0) -> SemFi:
    """A fresh, small SemFi of random weights, with random adapters: to try things out, and for tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(whole("seed", seed, 0, most=2**63 - 1))
        transformer = with_adapters(
            WanTransformer3DModel(
                num_attention_heads=2, attention_head_dim=12, in_channels=36, out_channels=16, text_dim=32,
                freq_dim=32, ffn_dim=48, num_layers=2, image_dim=24, added_kv_proj_dim=24, rope_max_seq_len=64,
            ),
            RANK,
            FRAME_COUNTS,
        )  # fmt: skip
        for parameter in transformer.adapter_parameters():
            nn.init.normal_(parameter, std=0.05)
        vae = AutoencoderKLWan(
            base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
        )
        sizes = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        image = CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=32, patch_size=16))
        pieces = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz.,"]
        text = UMT5EncoderModel(
            UMT5Config(vocab_size=len(pieces), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
        )
    tokenizer = T5Tokenizer(vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], extra_ids=0)
    return assembled(tokenizer, text, vae, image, transformer, SHIFT)
