"""Twelve look-ups of one pair of maps, as RAFT does them: ours, and the volume of all pairs in torch, made once.

python benchmarks/lookups.py [ROUNDS]   medians of interleaved rounds, 2 threads; the volume takes 6 GiB

An eighth of 1080p: maps of 135 x 240 pixels and 256 channels, 4 levels, radius 4. The positions are those of a smooth
flow, and other ones in every look-up. Ours is given both layouts: channels_last maps are read as they are.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from vfi_kernels import correlation_lookup
from vfi_kernels.bench.peers.correlation_lookup import look_up, volumes
from vfi_kernels.testing import load_cases

LOOKUPS, RADIUS, LEVELS, THREADS = 12, 4, 4, 2


def seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def ours(first: Tensor, second: Tensor, positions: list[Tensor]) -> None:
    for at in positions:
        correlation_lookup(first, second, at, RADIUS, levels=LEVELS)


def by_volume(first: Tensor, second: Tensor, positions: list[Tensor]) -> None:
    pyramid = volumes(first, second, LEVELS)
    for at in positions:
        look_up(pyramid, at, RADIUS)


def main(rounds: int) -> None:
    torch.set_num_threads(THREADS)
    case = load_cases()["correlation_lookup"]
    first, second, at = case.make_inputs(
        *case.large["features-1080p"], dtype=torch.float32, generator=torch.Generator().manual_seed(0), flow="smooth"
    )
    positions = [at + 0.37 * n for n in range(LOOKUPS)]
    last = [t.contiguous(memory_format=torch.channels_last) for t in (first, second)]
    calls = {
        "volume": lambda: by_volume(first, second, positions),
        "ours": lambda: ours(first, second, positions),
        "ours, channels_last": lambda: ours(*last, positions),
    }
    with torch.inference_mode():
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                times[name].append(seconds(call))
    medians = {name: statistics.median(t) for name, t in times.items()}
    for name, median in medians.items():
        print(f"{name}: {median:.2f} s, {median / medians['volume']:.3f} of the volume's")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
