"""Twelve look-ups of one pair of maps, as RAFT does them: ours, and the volume of all pairs in torch, made once.

python benchmarks/lookups.py [ROUNDS]   medians of interleaved rounds, 2 threads; the volume takes 6 GiB

An eighth of 1080p: maps of 135 x 240 pixels and 256 channels, 4 levels, radius 4. The positions are those of a smooth
flow, and other ones in every look-up. Ours is given both layouts: channels_last maps are read as they are. Then smaller
maps, looked up 1, 4 and 12 times, without and with gradients: how many times ours goes into the volume's time.
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


def times_faster(channels: int, size: tuple[int, int], lookups: int, rounds: int, train: bool) -> float:
    """Of one small pair of maps: the volume's time over ours, the medians of rounds."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, channels, *size, generator=generator, requires_grad=train) for _ in range(2)]
    grid = torch.stack(torch.meshgrid(torch.arange(size[1]), torch.arange(size[0]), indexing="xy"))[None].float()
    positions = grid + 3 * torch.randn(grid.shape, generator=generator)

    def run(results: Callable[[], list[Tensor]]) -> float:
        def all_of_it() -> None:
            made = results()
            if train:
                torch.stack([each.square().sum() for each in made]).sum().backward()

        return seconds(all_of_it)

    def of_volume() -> list[Tensor]:
        pyramid = volumes(*maps, LEVELS)
        return [look_up(pyramid, positions, RADIUS) for _ in range(lookups)]

    def of_ours() -> list[Tensor]:
        return [correlation_lookup(*maps, positions, RADIUS, levels=LEVELS) for _ in range(lookups)]

    with torch.set_grad_enabled(train):
        pairs = [(run(of_volume), run(of_ours)) for _ in range(rounds + 1)][1:]
    return statistics.median(volume / own for volume, own in pairs)


def small_maps(rounds: int) -> None:
    for train in (False, True):
        print("with gradients" if train else "without gradients")
        for channels in (64, 128, 256):
            for size in ((12, 16), (24, 32), (46, 62), (55, 128)):
                times = [times_faster(channels, size, lookups, rounds, train) for lookups in (1, 4, LOOKUPS)]
                print(f"  {channels} channels, {size[0]}x{size[1]}: {', '.join(f'{each:.2f}' for each in times)}")


def main(rounds: int) -> None:
    torch.set_num_threads(THREADS)
    small_maps(rounds)
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
