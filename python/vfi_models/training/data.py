"""Triplets for training: from files or made up, cropped, turned, flipped, reversed; the same ones for the same seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from vfi_models import datasets
from vfi_models.errors import UserError
from vfi_models.images import read_triplet
from vfi_models.synthetic import random_scene

HELD_OUT = 0.05  # the last part of a list, not trained on; 95 % of Vimeo90K's training list remain
SYNTHETIC = "synthetic"
MADE_UP = 2000  # synthetic triplets, unless a number is given
MOTION = 1 / 8  # of the side of a synthetic picture
FRESH = 1_000_000  # seeds of synthetic triplets that are held out


class Source(Protocol):
    """Where triplets come from."""

    def __len__(self) -> int: ...

    def read(self, index: int, size: int) -> tuple[np.ndarray, float]:
        """(3, H, W, 3) uint8 RGB, H and W at least `size`, and the time of the middle one."""


@dataclass(frozen=True)
class Files:
    """Three pictures each; the middle one is at 0.5."""

    triplets: list[tuple[Path, Path, Path]]

    def __len__(self) -> int:
        return len(self.triplets)

    def read(self, index: int, size: int) -> tuple[np.ndarray, float]:
        pictures = read_triplet(self.triplets[index])
        height, width = pictures[0].shape[:2]
        if min(height, width) < size:
            folder = self.triplets[index][0].parent
            raise UserError(f"expected frames of at least {size}x{size} in {folder}, got {width}x{height}; give --crop")
        return np.stack([p if p.dtype == np.uint8 else (p / 257).round().astype(np.uint8) for p in pictures]), 0.5


@dataclass(frozen=True)
class Synthetic:
    """Scenes of `vfi_models.synthetic`, one for each seed. any_time: the middle one is not always at 0.5."""

    count: int
    first_seed: int = 0
    any_time: bool = False

    def __len__(self) -> int:
        return self.count

    def read(self, index: int, size: int) -> tuple[np.ndarray, float]:
        seed = self.first_seed + index
        time = float(np.random.default_rng([seed, 1]).uniform(0.1, 0.9)) if self.any_time else 0.5
        return rendered(seed, size, time), time


@lru_cache(maxsize=256)  # a few scenes are seen again and again
def rendered(seed: int, size: int, time: float) -> np.ndarray:
    """(3, size, size, 3) uint8."""
    scene = random_scene(seed, (size, size), max_motion=size * MOTION, photographs=True)
    frames = torch.stack([scene.frame(moment) for moment in (0, time, 1)])
    return (frames.permute(0, 2, 3, 1) * 255).round().byte().numpy()


def sources(data: str, any_time: bool = False) -> tuple[Source, Source | None]:
    """What to train on, and what is held out to watch the quality; None if there is too little for that.

    Args:
        data: a folder: Vimeo90K's (with tri_trainlist.txt), or one of folders with im1, im2, im3 (.png);
            or "synthetic", or "synthetic:N" for N scenes.
        any_time: the network interpolates at any time.
    """
    name, _, number = data.partition(":")
    if name == SYNTHETIC:
        if data != SYNTHETIC and not (number.isdecimal() and int(number) > 0):
            raise UserError(f"expected synthetic:N with a number above 0, got {data}")
        count = int(number or MADE_UP)
        return Synthetic(count, any_time=any_time), Synthetic(min(max(count // 20, 1), 32), FRESH, any_time)
    root = Path(data)
    if not root.is_dir():
        raise UserError(f"expected a folder of triplets, or the word {SYNTHETIC}, got {data}")
    vimeo = (root / "tri_trainlist.txt").is_file()
    triplets = datasets.vimeo90k_triplets(root, "train") if vimeo else datasets.triplet_folders(root)
    kept = len(triplets) - int(len(triplets) * HELD_OUT)
    return Files(triplets[:kept]), Files(triplets[kept:]) if kept < len(triplets) else None


@dataclass(frozen=True)
class Sample:
    frames: Tensor  # (3, 3, size, size) uint8 RGB
    time: float


class Augmented(Dataset[Sample | UserError]):
    """Random squares of a source's triplets: which, depends on the seed, the epoch and the index alone.

    Cut out, turned by quarter turns, flipped both ways, and in half of the cases backwards in time. augment=False: the
    middle of each picture, as it is.
    """

    def __init__(self, source: Source, size: int, seed: int, augment: bool = True):
        self.source, self.size, self.seed, self.augment = source, size, seed, augment

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, place: tuple[int, int]) -> Sample | UserError:
        """place: epoch and index. An error is handed on, since loader processes would bury it in a traceback."""
        epoch, index = place
        try:
            frames, time = self.source.read(index, self.size)
        except UserError as error:
            return error
        room = [n - self.size for n in frames.shape[1:3]]
        random = np.random.default_rng([self.seed, epoch, index])
        top, left = (int(random.integers(n + 1)) if self.augment else n // 2 for n in room)
        frames = frames[:, top : top + self.size, left : left + self.size]
        if self.augment:
            frames = np.rot90(frames, int(random.integers(4)), (1, 2))
            frames = np.flip(frames, tuple(axis for axis in (1, 2) if random.integers(2)))
            if random.integers(2):
                frames, time = frames[::-1], 1 - time
        return Sample(torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()), time)


def collated(samples: list[Sample | UserError]) -> tuple[Tensor, Tensor] | UserError:
    """Frames (B, 3, 3, H, W) uint8 and times (B,), or the first error."""
    good = []
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
        good.append(sample)
    return torch.stack([s.frames for s in good]), torch.tensor([s.time for s in good])


class Batches(Sampler[list[tuple[int, int]]]):
    """Of each step from `start` to `stop`: epoch and index of one process's share of the batch.

    Every epoch has its own order, by the seed; what does not fill a batch is left out of that epoch. The steps are the
    same however many processes share them, and wherever they start.
    """

    def __init__(self, count: int, batch: int, seed: int, start: int, stop: int, rank: int = 0, processes: int = 1):
        if count < batch:
            raise UserError(f"expected at least {batch} triplets, one batch, got {count}; give a smaller --batch")
        self.count, self.batch, self.seed = count, batch, seed
        self.start, self.stop = start, stop
        self.share = slice(rank * batch // processes, (rank + 1) * batch // processes)

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        known, order = -1, np.empty(0, dtype=np.int64)
        for step in range(self.start, self.stop):
            epoch, place = divmod(step, self.count // self.batch)
            if epoch != known:
                known, order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.count)
            picked = order[place * self.batch : (place + 1) * self.batch][self.share]
            yield [(epoch, int(index)) for index in picked]
