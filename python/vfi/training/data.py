"""Batches for training: triplets and clips cropped, turned, flipped, reversed; the same for a seed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from vfi.errors import ArgumentError, UserError
from vfi.training.sources import Crop, Source, sides, sources


@dataclass(frozen=True)
class Data:
    """What a training goes through.

    samples: gives one by what a sampler of `batches` names. collate: makes a batch of several: frames uint8
    (B, F, 3, H, W) and what is beside them, or an error. batches(start, stop, rank, processes): the steps from start to
    stop. kind, size: of the samples, in words. held_out: what the quality is watched on; None: nothing. sorts: of each
    of those samples its sort, in words, of which the quality is told apart; None: they are of one. grows: samples may
    be added while it is trained.
    """

    samples: Dataset[object]
    collate: Callable[[list[Any]], object]
    batches: Callable[[int, int, int, int], Any]
    count: int
    epoch_steps: int
    kind: str
    size: str
    held_out: Source | None
    sorts: Sequence[str] | None = None
    grows: bool = False


def cut_out(where: str, any_time: bool, frames: int, batch: int, crop: Crop, seed: int, augment: bool) -> Data:
    """Parts of triplets or clips, see `sources` and `Augmented`."""
    source, held_out = sources(where, any_time, frames)
    count = len(source)

    def batches(start: int, stop: int, rank: int, processes: int) -> Batches:
        return Batches(count, batch, seed, start, stop, rank, processes)

    samples, size = Augmented(source, crop, seed, augment), "x".join(map(str, sides(crop)[::-1]))
    kind = "triplets" if frames == 3 else f"clips of {frames} frames"
    return Data(samples, collated, batches, count, count // batch, kind, size, held_out)


@dataclass(frozen=True)
class Sample:
    frames: Tensor  # (3 or N, 3, H, W) uint8 RGB
    time: float


class Augmented(Dataset[Sample | UserError]):
    """Random parts of a source's triplets or clips: which, depends on the seed, the epoch and the index alone.

    Cut out, squares turned by quarter turns, flipped both ways, and in half of the cases backwards in time.
    augment=False: the middle of each picture, as it is.
    """

    def __init__(self, source: Source, size: Crop, seed: int, augment: bool = True):
        self.source, self.size, self.seed, self.augment = source, sides(size), seed, augment

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, place: tuple[int, int]) -> Sample | UserError:
        """place: epoch and index. An error is handed on, since loader processes would bury it in a traceback."""
        epoch, index = place
        random = np.random.default_rng([self.seed, epoch, index])
        try:
            frames, time = self.source.read(index, self.size, random if self.augment else None)
        except UserError as error:
            return error
        height, width = self.size
        room = frames.shape[1] - height, frames.shape[2] - width
        top, left = (int(random.integers(n + 1)) if self.augment else n // 2 for n in room)
        frames = frames[:, top : top + height, left : left + width]
        if self.augment:
            frames = np.rot90(frames, int(random.integers(4)), (1, 2)) if height == width else frames
            frames = np.flip(frames, tuple(axis for axis in (1, 2) if random.integers(2)))
            if random.integers(2):
                frames, time = frames[::-1], 1 - time
        return Sample(torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()), time)


def collated(samples: list[Sample | UserError]) -> tuple[Tensor, Tensor] | UserError:
    """Frames (B, 3 or N, 3, H, W) uint8 and times (B,), or the first error."""
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
            raise ArgumentError(
                f"expected at least {batch} triplets or clips, one batch, got {count}; give a smaller `batch`"
            )
        self.count, self.batch, self.seed = count, batch, seed
        self.start, self.stop = start, stop
        self.share = slice(rank * batch // processes, (rank + 1) * batch // processes)

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch_of_order, order = -1, np.empty(0, dtype=np.int64)
        for step in range(self.start, self.stop):
            epoch, place = divmod(step, self.count // self.batch)
            if epoch != epoch_of_order:
                epoch_of_order, order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.count)
            picked = order[place * self.batch : (place + 1) * self.batch][self.share]
            yield [(epoch, int(index)) for index in picked]
