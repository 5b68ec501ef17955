"""Triplets and clips for training: from files or made up, cropped, turned, flipped, reversed; the same for a seed."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from vfi.data import lists
from vfi.data.synthetic import random_scene
from vfi.data.synthetic.clips import even_times
from vfi.data.synthetic.random_motion import MotionName
from vfi.errors import ArgumentError, UserError
from vfi.files.images import read_frames

HELD_OUT = 0.05  # the last part of a list, not trained on; 95 % of Vimeo90K's training list remain
SYNTHETIC = "synthetic"
VIMEO = {3: "tri_trainlist.txt", 7: "sep_trainlist.txt"}  # Vimeo90K's lists, by how many frames a line has
MADE_UP = 2000  # synthetic scenes, unless a number is given
MOTION = 1 / 8  # of the side of a synthetic picture
FRESH = 1_000_000  # seeds of synthetic scenes that are held out


class Source(Protocol):
    """Where triplets, or clips of N frames at even times, come from."""

    def __len__(self) -> int: ...

    def read(self, index: int, size: int) -> tuple[np.ndarray, float]:
        """(3 or N, H, W, 3) uint8 RGB, H and W at least `size`, and the time of the middle one."""


@dataclass(frozen=True)
class Files:
    """Three pictures each; the middle one is at 0.5."""

    triplets: Sequence[Sequence[Path]]

    def __len__(self) -> int:
        return len(self.triplets)

    def read(self, index: int, size: int) -> tuple[np.ndarray, float]:
        return pictures(self.triplets[index], size), 0.5


@dataclass(frozen=True)
class Windows:
    """Every run of `frames` consecutive pictures, an odd number, of longer sequences."""

    sequences: Sequence[Sequence[Path]]
    frames: int

    def __len__(self) -> int:
        return self.ends[-1]

    @cached_property
    def ends(self) -> list[int]:
        """How many windows the sequences have up to each."""
        return list(accumulate(len(paths) - self.frames + 1 for paths in self.sequences))

    def read(self, index: int, size: int) -> tuple[np.ndarray, float]:
        number = bisect_right(self.ends, index)
        paths = self.sequences[number]
        first = len(paths) - self.frames + 1 - (self.ends[number] - index)
        return pictures(paths[first : first + self.frames], size), 0.5


def pictures(paths: Sequence[Path], size: int) -> np.ndarray:
    """(N, H, W, 3) uint8."""
    frames = read_frames(paths)
    height, width = frames[0].shape[:2]
    if min(height, width) < size:
        folder = paths[0].parent
        raise ArgumentError(f"expected frames of at least {size}x{size} in {folder}, got {width}x{height}; give `crop`")
    return np.stack([p if p.dtype == np.uint8 else (p / 257).round().astype(np.uint8) for p in frames])


@dataclass(frozen=True)
class Synthetic:
    """Scenes of `vfi.data.synthetic`, one for each seed.

    any_time: the middle one of three frames is not always at 0.5. frames: if not 3, clips of so many at even times,
    with motion of all kinds.
    """

    count: int
    first_seed: int = 0
    any_time: bool = False
    frames: int = 3

    def __len__(self) -> int:
        return self.count

    def read(self, index: int, size: int) -> tuple[np.ndarray, float]:
        seed = self.first_seed + index
        if self.frames != 3:
            return rendered(seed, size, even_times(self.frames), "mixed"), 0.5
        time = float(np.random.default_rng([seed, 1]).uniform(0.1, 0.9)) if self.any_time else 0.5
        return rendered(seed, size, (0, time, 1), "uniform"), time


@lru_cache(maxsize=64)  # a few scenes are seen again and again
def rendered(seed: int, size: int, times: tuple[float, ...], motion: MotionName) -> np.ndarray:
    """(N, size, size, 3) uint8."""
    scene = random_scene(seed, (size, size), max_motion=size * MOTION, photographs=True, motion=motion)
    frames = torch.stack([scene.frame(moment) for moment in times])
    return (frames.permute(0, 2, 3, 1) * 255).round().byte().numpy()


def sources(data: str, any_time: bool = False, frames: int = 3) -> tuple[Source, Source | None]:
    """What to train on, and what is held out to watch the quality; None if there is too little for that.

    Args:
        data: "synthetic", or "synthetic:N" for N scenes; or a folder. For three frames that of Vimeo90K's triplets
            (with tri_trainlist.txt), or one of folders with im1, im2, im3 (.png). For others one of folders of images,
            in the order of their names; for seven also that of Vimeo90K's septuplets (with sep_trainlist.txt).
        any_time: the network interpolates at any time.
        frames: how many an objective is trained on at once, an odd number.
    """
    count = made_up(data)
    if count is not None:
        held_out = Synthetic(min(max(count // 20, 1), 32), FRESH, any_time, frames)
        return Synthetic(count, any_time=any_time, frames=frames), held_out
    root = Path(data)
    if not root.is_dir():
        raise UserError(f"expected a folder of triplets, or the word {SYNTHETIC}, got {data}")
    samples = listed(root, frames)
    kept = len(samples) - int(len(samples) * HELD_OUT)

    def source(part: Sequence[Sequence[Path]]) -> Source:
        return Files(part) if frames == 3 else Windows(part, frames)

    return source(samples[:kept]), source(samples[kept:]) if kept < len(samples) else None


def made_up(data: str) -> int | None:
    """How many scenes "synthetic" or "synthetic:N" asks for; None: it is something else."""
    name, _, number = data.partition(":")
    if name != SYNTHETIC:
        return None
    if data != SYNTHETIC and not (number.isdecimal() and int(number) > 0):
        raise UserError(f"expected synthetic:N with a number above 0, got {data}")
    return int(number or MADE_UP)


def listed(root: Path, frames: int) -> Sequence[Sequence[Path]]:
    """The triplets below a folder, or its sequences of `frames` pictures or more."""
    of_vimeo = [count for count, name in VIMEO.items() if (root / name).is_file()]
    if of_vimeo and frames not in of_vimeo:
        raise UserError(f"{root} is Vimeo90K with {of_vimeo[0]} frames in a row, but the model is trained on {frames}")
    if frames == 3:
        return lists.vimeo90k_triplets(root, "train") if of_vimeo else lists.triplet_folders(root)
    return lists.vimeo90k_septuplets(root, "train") if of_vimeo else lists.clip_folders(root, frames)


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


def squares(where: str, any_time: bool, frames: int, batch: int, crop: int, seed: int, augment: bool) -> Data:
    """Squares of triplets or clips, see `sources` and `Augmented`."""
    source, held_out = sources(where, any_time, frames)
    count = len(source)

    def batches(start: int, stop: int, rank: int, processes: int) -> Batches:
        return Batches(count, batch, seed, start, stop, rank, processes)

    samples, size = Augmented(source, crop, seed, augment), f"{crop}x{crop}"
    kind = "triplets" if frames == 3 else f"clips of {frames} frames"
    return Data(samples, collated, batches, count, count // batch, kind, size, held_out)


@dataclass(frozen=True)
class Sample:
    frames: Tensor  # (3 or N, 3, size, size) uint8 RGB
    time: float


class Augmented(Dataset[Sample | UserError]):
    """Random squares of a source's triplets or clips: which, depends on the seed, the epoch and the index alone.

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
