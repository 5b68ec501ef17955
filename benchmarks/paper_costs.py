"""Costs that the papers' tables hold: parameters, multiply-accumulates, seconds and memory of a frame."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import rdvfi_phases
import torch
from memory import MIB, beyond
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vfi.data.synthetic import triplet
from vfi.evaluation.macs import count_macs
from vfi.files.images import is_image_name, read_frames, to_tensor
from vfi.models import apr_vfi, rife, sg_rife
from vfi.models.sg_rife.dino import Dino, make_network
from vfi.models.sg_rife.model import SGRIFE

SNU_FILM, XIPH, FCVG = (720, 1280), (1088, 2048), (576, 1024)  # height and width in the papers' tables
LOW_LATENTS = (32, 56)  # of 256x448, at which RDVFI's diffusion works
SEMFI_LATENTS = (21, 60, 104)  # of 81 frames of 480x832
STEPS, GUIDED = 50, 2  # of SemFi's denoising, each with and without the text


@dataclass(frozen=True)
class Setting:
    """Where and at what it is measured.

    size: instead of the papers'. large: also diffusion models of the published sizes on a CPU. apr: weights of
    APR-VFI, and pairs, a folder of frames, on which its learned route is measured.
    """

    device: str = "cpu"
    size: tuple[int, int] | None = None
    rounds: int = 3
    large: bool = False
    apr: Path | None = None
    pairs: Path | None = None

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")


def millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@cache
def parts_of_sg_rife() -> dict[str, float]:
    """Millions of parameters, by the names of table 2."""
    with torch.device("meta"):
        network, dino = SGRIFE(), Dino(make_network())
    own = ("fusion_", "adapt_")
    injection = sum(millions(part) for name, part in network.unet.named_children() if name.startswith(own))
    parts = {
        "DINOv3 (Small)": millions(dino),
        "IFBlocks (0–2)": sum(millions(block) for block in (network.block0, network.block1, network.block2)),
        "ContextNet": millions(network.contextnet),
    }
    frozen = sum(parts.values())
    trained = {
        "Split-FAPM (Compressor)": millions(network.dino_compressor),
        "Split-FAPM (Refiner)": millions(network.dino_refiner),
        "FusionNet (Base)": millions(network.unet) - injection,
        "FusionNet (Injection)": injection,
    }
    whole = sum(trained.values())
    return {**parts, "Total Frozen": frozen, **trained, "Total Trainable": whole, "Total Inference": frozen + whole}


def apr_network(fusion: str = "add", patch: int = 64) -> apr_vfi.APRVFI:
    """Of the published sizes, without memory."""
    with torch.device("meta"):
        return apr_vfi.APRVFI(apr_vfi.APRConfig(fusion=fusion, patch=patch)).eval()


def apr_terms(setting: Setting, fusion: str = "add", **route: Any) -> float:
    """10^12 multiply-accumulates of a frame, as thop counts them, by which the paper's are."""
    return count_macs(apr_network(fusion), setting.size or XIPH, **route).total / 1e12


def learned_terms(setting: Setting) -> float | None:
    """The same along the routes that trained weights choose, mean over the pairs; None: no weights."""
    if setting.apr is None:
        return None
    model, found = apr_vfi.load(setting.apr).to(setting.device), []
    patch = model.config.patch
    for frame0, frame1 in pairs(setting):
        route = model.explain(frame0, frame1, 0.5).route
        height, width = (-(-side // patch) * patch for side in frame0.shape[2:])
        keep = route.flatten(0, 2).float().mean(0).tolist()
        found.append(count_macs(model, (height, width), routing="apr", keep=keep).total / 1e12)
    return statistics.mean(found)


def pairs(setting: Setting) -> Sequence[tuple[torch.Tensor, torch.Tensor]]:
    """Every second frame of the folder with the next of these, as of Xiph, BGR; without it, three made-up scenes."""
    if setting.pairs is None:
        height, width = setting.size or XIPH
        scenes = [triplet(seed, (height, width), max_motion=width / 32).frames for seed in range(3)]
        frames = [(each[:1], each[2:]) for each in scenes]
    else:
        files = sorted(path for path in setting.pairs.iterdir() if is_image_name(path))[::2]
        read = [to_tensor(each) for each in read_frames(files)]
        frames = list(pairwise(read))
    return [(first.flip(1).to(setting.device), second.flip(1).to(setting.device)) for first, second in frames]


@torch.no_grad()
def cost(setting: Setting, model: Any, size: tuple[int, int], **options: Any) -> tuple[float, float]:
    """Seconds of a frame between two, the median, and GiB that it takes: on a GPU all that is allocated, on a CPU what
    comes on top of weights and frames."""
    frames = torch.rand(2, 1, 3, *(setting.size or size), generator=torch.Generator().manual_seed(0))
    first, second = frames.to(setting.device)

    def call() -> torch.Tensor:
        result: torch.Tensor = model.interpolate(first, second, 0.5, **options)
        return result

    call()
    return seconds_of(setting, call), gib_of(setting, call)


def seconds_of(setting: Setting, call: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(setting.rounds):
        start = time.perf_counter()
        call()
        if setting.on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def gib_of(setting: Setting, call: Callable[[], Any]) -> float:
    gc.collect()
    if not setting.on_gpu:
        return beyond(call) * MIB / 2**30
    torch.cuda.reset_peak_memory_stats(setting.device)
    call()
    return torch.cuda.max_memory_allocated(setting.device) / 2**30


@cache
def frame_of(setting: Setting, name: str) -> tuple[float, float]:
    """Seconds and GiB of a model with fresh weights, on whose values they do not depend."""
    if name == "rife":
        return cost(setting, rife.load().to(setting.device), SNU_FILM)
    if name == "sg-rife":
        return cost(setting, sg_rife.load(dino=Dino(make_network())).to(setting.device), SNU_FILM)
    model = apr_vfi.load(setting.apr).to(setting.device)
    return cost(setting, model, XIPH, routing=name)


@cache
def frame_of_rdvfi(setting: Setting, variant: str) -> tuple[float, float] | None:
    """Seconds of one of 23 frames between two, with the diffusion's share, and GiB; None: too much for a CPU."""
    if not (setting.on_gpu or setting.large):
        return None
    network = rdvfi_phases.published(variant, setting.device, torch.bfloat16)
    frames = torch.rand(2, 1, 3, *(setting.size or FCVG), device=setting.device)
    times = [i / 24 for i in range(1, 24)]

    def call() -> Any:
        return network.interpolate(*frames, times)

    call()
    return seconds_of(setting, call) / len(times), gib_of(setting, call)


def counted(call: Callable[[], Any]) -> float:
    """10^12 multiply-accumulates of a call on torch's device meta."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops() / 2e12


@cache
def denoiser(name: str) -> tuple[float, float]:
    """Millions of parameters of a denoiser of the published size, and the multiply-accumulates of one step of it."""
    from diffusers import UNetSpatioTemporalConditionModel, WanTransformer3DModel

    from vfi.models import rdvfi
    from vfi.networks import wan

    with torch.device("meta"):
        time = torch.ones(1)
        if name == "rdvfi-u":
            unet = rdvfi.widened(UNetSpatioTemporalConditionModel()).to(
                "meta"
            )  # of which diffusers leaves parts behind
            inputs = torch.empty(1, 9, 12, *LOW_LATENTS), time, torch.empty(1, 2, 1024)
            return millions(unet), counted(lambda: unet(*inputs, added_time_ids=torch.empty(1, 3)))
        sizes, latents = (wan.FUN_1_3B, (9, *LOW_LATENTS)) if name == "rdvfi-d" else (wan.I2V_14B, SEMFI_LATENTS)
        network = WanTransformer3DModel(**sizes)
        given = torch.empty(1, 36, *latents), time, torch.empty(1, 512, 4096), torch.empty(1, 257, 1280)
        return millions(network), counted(lambda: network(*given))


@cache
def adapters_of_semfi() -> float:
    """Millions of parameters."""
    from diffusers import WanTransformer3DModel

    from vfi.models import semfi
    from vfi.networks import wan

    with torch.device("meta"):
        network = semfi.with_adapters(WanTransformer3DModel(**wan.I2V_14B))
    return sum(parameter.numel() for parameter in network.adapter_parameters()) / 1e6


def terms_of(setting: Setting, name: str) -> float:
    """10^12 multiply-accumulates of a frame of rife or sg-rife, in which DINO sees both pictures. Of deformable
    convolutions and warps none are counted."""
    height, width = (-(-side // 32) * 32 for side in setting.size or SNU_FILM)
    with torch.device("meta"):
        network = (SGRIFE(Dino(make_network())) if name == "sg-rife" else rife.RIFE()).eval()
        frame = torch.empty(1, 3, height, width)
        return counted(lambda: network(frame, frame))
