"""RDVFI: its warping beside the same in steps of torch, and what a pair costs at several resolutions.

python benchmarks/rdvfi_phases.py [--device cuda] [--variant u]

Networks of the published sizes with random weights, in bfloat16 but for VAE and estimator.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import vfi_kernels as vk
from vfi_kernels.bench.peers import load_peers

SIZES = ((576, 1024), (720, 1280), (1280, 2272))
FRAMES = 23  # between two: 24 times as many
PAPER_MS = (55.3, 58.0, 63.5)  # for a frame
TORCH = "einsum, F.interpolate and scatter_add"


def smooth_nodes(generator: torch.Generator) -> Tensor:
    """Keyframe flows (1, 9, 2, 256, 448) of up to about 30 px."""
    coarse = 20 * torch.randn(1, 2, 4, 7, generator=generator)
    field = torch.nn.functional.interpolate(coarse, (256, 448), mode="bicubic", align_corners=True)
    return torch.linspace(0, 1, 9).view(1, 9, 1, 1, 1) ** 1.3 * field[:, None]


def measure_warping(rounds: int = 5) -> dict[str, Any]:
    """Seconds of both frames' warping to 24 taus at 576x1024 along fixed trajectories, medians of alternating runs."""
    from vfi.models.rdvfi import EstimatedMotion, FrameSynthesis, Trajectory

    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(2, 1, 3, *SIZES[0], generator=generator)
    nodes, metric = smooth_nodes(generator), torch.randn(1, 1, 64, 112, generator=generator)
    motion = EstimatedMotion(nodes, nodes.flip(1), metric, metric, torch.zeros(1, 8, 4, 32, 56))
    trajectory = Trajectory(*frames, motion, torch.zeros(1, 9, 16, 32, 56), FrameSynthesis())
    taus = torch.linspace(0, 1, 26)[None, 1:-1]
    (peer,) = [p for p in load_peers()["trajectory_splat"] if p.name == TORCH]

    def in_steps(input: Tensor, nodes: Tensor, taus: Tensor, metric: Tensor, a: float) -> Tensor:
        result = peer.call(input, nodes.flatten(1, 2), taus[:, :, None, None], metric, a=a)
        return result.unflatten(0, taus.shape)

    functions = {"ours": vk.trajectory_splat, TORCH: in_steps}
    seconds: dict[str, list[float]] = {who: [] for who in functions}
    with torch.inference_mode():
        for n in range(rounds + 1):
            for who, function in functions.items():
                with mock.patch.object(vk, "trajectory_splat", function):
                    start = time.perf_counter()
                    trajectory.warped(*frames, taus)
                    if n:  # the first round warms up
                        seconds[who].append(time.perf_counter() - start)
    medians = {who: {"whole_s": statistics.median(times)} for who, times in seconds.items()}
    return {"size": SIZES[0], "taus": taus.shape[1], "threads": torch.get_num_threads(), **medians}


def published(variant: str, device: str, dtype: torch.dtype) -> Any:
    """RDVFI of the published sizes; small random weights."""
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        AutoencoderKLWan,
        UNetSpatioTemporalConditionModel,
        WanTransformer3DModel,
    )
    from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

    from vfi.models import rdvfi
    from vfi.networks import wan

    clip: dict[str, Any] = {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 16, "patch_size": 14}
    config = CLIPVisionConfig(**clip, num_hidden_layers=32, image_size=224, projection_dim=1024)
    with torch.device("meta"):
        if variant == "d":
            parts = [WanTransformer3DModel(**wan.FUN_1_3B), AutoencoderKLWan(), CLIPVisionModel(config)]
        else:
            blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "block_out_channels": (128, 256, 512, 512)}
            vae = AutoencoderKLTemporalDecoder(**blocks, layers_per_block=2)
            parts = [UNetSpatioTemporalConditionModel(), vae, CLIPVisionModelWithProjection(config)]
    generator = torch.Generator(device).manual_seed(0)
    for part in parts:
        exact = isinstance(part, (AutoencoderKLWan, AutoencoderKLTemporalDecoder))  # as RDVFI loads them
        torch.nn.Module.to(part, torch.float32 if exact else dtype).to_empty(device=device)
        with torch.no_grad():
            for value in (*part.parameters(), *part.buffers()):
                if value.is_floating_point():
                    value.normal_(0, 0.02, generator=generator)
                else:
                    value.copy_(torch.arange(value.numel()).view_as(value))
    if variant == "d":
        # Kept beside the parameters, and lost on the way through the device meta
        parts[0].rope = type(parts[0].rope)(128, (1, 2, 2), 1024).to(device)
        own: tuple[Any, ...] = (rdvfi.TrajectoryEstimator(16), rdvfi.FrameSynthesis(16), rdvfi.EmptyPrompt())
    else:
        parts[0] = rdvfi.widened(parts[0])
        own = (rdvfi.TrajectoryEstimator(4), rdvfi.FrameSynthesis(4), None)
    networks = [part if part is None else part.to(device).eval() for part in (*parts, *own)]
    torch.nn.Module.to(networks[4], dtype)
    return rdvfi.RDVFI(*networks)


def seconds_of(call: Callable[[], Any], device: str, rounds: int) -> tuple[float, Any]:
    """The median of so many calls, and what the last returned."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = call()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def measure_resolutions(variant: str = "d", device: str = "cpu", rounds: int = 1) -> dict[str, Any]:
    """Of a pair at each resolution: seconds of what runs once, and of a frame after that."""
    net, rows = published(variant, device, torch.bfloat16), []
    if device != "cpu":
        net.trajectory(*torch.rand(2, 1, 3, 64, 64, device=device)).frames(0.5)  # warms up
    for height, width in SIZES:
        frames = torch.rand(2, 1, 3, height, width, device=device)
        once, trajectory = seconds_of(functools.partial(net.trajectory, *frames), device, rounds)
        frame, _ = seconds_of(functools.partial(trajectory.frames, 0.3), device, 3 * rounds)
        rows.append({"size": [height, width], "once_s": once, "frame_s": frame, "total_s": once + FRAMES * frame})
    return {
        "variant": variant, "device": device, "dtype": "bfloat16", "frames": FRAMES,
        "threads": torch.get_num_threads(), "sizes": rows,
    }  # fmt: skip


def cells(figures: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of resolutions."""
    first = figures["sizes"][0]["total_s"]
    header = ["size", "once for a pair", "a frame", f"{figures['frames']} frames", "ratio", "ratio in the paper"]
    rows = [
        [
            "x".join(map(str, row["size"])),
            f"{row['once_s']:.2f} s",
            f"{row['frame_s']:.3f} s",
            f"{row['total_s']:.2f} s",
            f"{row['total_s'] / first:.2f}",
            f"{paper / PAPER_MS[0]:.2f}",
        ]
        for row, paper in zip(figures["sizes"], PAPER_MS, strict=True)
    ]
    return header, rows


def faster(figures: dict[str, Any] | None) -> float | None:
    """How many times faster the warping is than in steps of torch."""
    return None if figures is None else figures[TORCH]["whole_s"] / figures["ours"]["whole_s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="such as cuda:0 (default: %(default)s)")
    parser.add_argument("--variant", choices=("d", "u"), default="d", help="of RDVFI (default: %(default)s)")
    options = parser.parse_args()
    warping = measure_warping()
    print(f"warping to {warping['taus']} taus at {SIZES[0]}: {faster(warping):.1f}x faster than {TORCH}")
    header, rows = cells(measure_resolutions(options.variant, options.device))
    for row in (header, *rows):
        print("  ".join(f"{cell:>18}" for cell in row))


if __name__ == "__main__":
    main()
