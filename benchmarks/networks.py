"""Whole networks: RIFE, and the adapters of SG-RIFE, beside the same network on plain torch; ebme-splat by itself.

python benchmarks/networks.py [rife | adapters | ebme-splat]    on the CPU, all cores, fresh weights (speed does not
                                                                depend on them)
python benchmarks/networks.py engines ...                       every engine: as benchmarks/engines.py
"""

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import engines
import memory
import rdvfi_phases
import routed_network
import torch
from torch import Tensor

import vfi_kernels as vk
from vfi.data.synthetic import triplet
from vfi.models import ebme, rife, sg_rife
from vfi.models.sg_rife.adapters import warp_maps
from vfi_kernels.bench.peers import load_peers

SIZE = (1088, 1920)  # 1080 padded to a multiple of 32
ADAPTER_SIZE = (576, 1024)
PAIR_SIZE = (480, 640)


def peer(op: str, name: str) -> Callable[..., Tensor]:
    """A peer of the benchmarks as a function of the op's arguments."""
    (peer_of_name,) = [p for p in load_peers()[op] if p.name == name]
    return lambda *arguments, **options: peer_of_name.call(*peer_of_name.prepare(*arguments, **options), **options)


class Stopwatch:
    """Counts the seconds in calls of a function."""

    def __init__(self, function: Callable[..., Any]):
        self.function, self.seconds = function, 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = self.function(*arguments, **options)
        self.seconds += time.perf_counter() - start
        return result


@contextlib.contextmanager
def instead(name: str, function: Callable[..., Any]) -> Iterator[Stopwatch]:
    """vk.<name> is `function`, and timed."""
    timed = Stopwatch(function)
    with mock.patch.object(vk, name, timed):
        yield timed


def alternating(
    calls: dict[str, Callable[[], Any]], name: str, functions: dict[str, Callable[..., Any]], rounds: int
) -> dict[str, dict[str, float]]:
    """Medians of the seconds of each call, and of those in vk.<name> meanwhile, taking turns."""
    seconds: dict[str, list[tuple[float, float]]] = {who: [] for who in calls}
    for n in range(rounds + 1):
        for who in calls:
            with instead(name, functions[who]) as inside:
                start = time.perf_counter()
                calls[who]()
                if n:  # the first round warms up
                    seconds[who].append((time.perf_counter() - start, inside.seconds))
    return {
        who: {
            "whole_s": statistics.median(w for w, _ in who_seconds),
            "inside_s": statistics.median(i for _, i in who_seconds),
        }
        for who, who_seconds in seconds.items()
    }


def measure_rife(rounds: int = 5) -> dict[str, Any]:
    """A forward at 1080p with our warp and with RIFE's own; then the peak memory of each, in a process of its own."""
    torch.manual_seed(0)
    model, frames = rife.load(), torch.rand(2, 1, 3, *SIZE)
    functions = {"ours": vk.backward_warp, "RIFE": peer("backward_warp", "RIFE")}
    with torch.inference_mode():
        figures: dict[str, Any] = alternating(
            dict.fromkeys(functions, lambda: model(*frames)), "backward_warp", functions, rounds
        )
    for who in functions:
        done = subprocess.run([sys.executable, __file__, "memory", who], capture_output=True, text=True)
        figures[who]["peak_mib"] = float(done.stdout) if done.returncode == 0 else None
    return {"size": SIZE, "threads": torch.get_num_threads(), **figures}


def peak_memory(who: str) -> float:
    """MiB of a forward beyond its inputs and the frame that it returns: of ours as it interpolates, of RIFE as its own
    forward does it, which hands out what each block found."""
    model, frames = rife.load(), torch.rand(2, 1, 3, *SIZE)
    function = vk.backward_warp if who == "ours" else peer("backward_warp", "RIFE")
    with torch.inference_mode(), instead("backward_warp", function):
        model(*frames[..., :64, :64])
        if who == "ours":
            return memory.beyond(lambda: model.frame_at(*frames, 0.5, 1))
        return memory.beyond(lambda: model(*frames).frame)


def measure_adapters(rounds: int = 7) -> dict[str, Any]:
    """Compressor, warps, refiner and both fusions of SG-RIFE, with our deformable convolution and with the columns of
    all taps and one product (im2col)."""
    torch.manual_seed(0)
    model, (height, width) = sg_rife.load(), ADAPTER_SIZE
    maps = [torch.rand(1, 384, height // 16, width // 16) for _ in range(2)]
    flow = torch.randn(1, 4, height, width)
    s2, s3 = torch.rand(1, 128, height // 8, width // 8), torch.rand(1, 256, height // 16, width // 16)

    def adapters() -> None:
        sides = [warp_maps(model.dino_compressor(maps), part) for part in (flow[:, :2], flow[:, 2:])]
        levels = list(zip(*(model.dino_refiner(side) for side in sides)))
        model.unet.fusion_s2(s2, [model.unet.adapt_s2(m) for m in levels[0]])
        model.unet.fusion_s3(s3, list(levels[1]))

    columns = peer("modulated_deform_conv2d", "grid_sample and product")
    gathers = peer("modulated_deform_conv2d", "gathers and product")
    functions = {"ours": vk.modulated_deform_conv2d, "grid_sample, im2col": columns, "gathers, im2col": gathers}
    with torch.inference_mode():
        timings = alternating(dict.fromkeys(functions, adapters), "modulated_deform_conv2d", functions, rounds)
    return {"size": ADAPTER_SIZE, "threads": torch.get_num_threads(), **timings}


def measure_ebme_splat(rounds: int = 7) -> dict[str, Any]:
    """Seconds of a frame between two of a made-up scene, the median."""
    torch.manual_seed(0)
    model, frames = ebme.EBMESplat(ebme.load()), triplet(seed=0, size=PAIR_SIZE, max_motion=24.0).frames
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        model.interpolate(frames[:1], frames[2:], 0.5)
        seconds.append(time.perf_counter() - start)
    return {"size": PAIR_SIZE, "threads": torch.get_num_threads(), "seconds": statistics.median(seconds[1:])}


def measure(quick: bool = False) -> dict[str, Any]:
    """All of them, for benchmarks/run.py."""
    return {
        "rife": measure_rife(1 if quick else 5),
        "sg_rife_adapters": measure_adapters(1 if quick else 7),
        "ebme_splat": measure_ebme_splat(1 if quick else 7),
        "apr_vfi": routed_network.measure(quick),
        "rdvfi_warping": rdvfi_phases.measure_warping(1 if quick else 7),
        "rdvfi_phases": None if quick else rdvfi_phases.measure_resolutions(),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        print(peak_memory(sys.argv[2]))
    elif sys.argv[1:2] == ["engines"]:
        engines.main(sys.argv[2:])
    else:
        chosen = {"rife": measure_rife, "adapters": measure_adapters, "ebme-splat": measure_ebme_splat}
        for name in sys.argv[1:] or chosen:
            print(name, json.dumps(chosen[name](), indent=1))
