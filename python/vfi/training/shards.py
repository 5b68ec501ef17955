"""Prepared samples for training: triplets at any time with exact motion where it is known, in a folder of shards.

A shard is a folder of arrays that numpy memory-maps: frames.npy uint8 (N, 3, H, W, 3), RGB: before, at the time, after;
time.npy float32 (N,); flow.npy float16 (N, 4, H, W), pixels, from the frame at the time (x, y) to the one before, then
to the one after, NaN where it is not known; visible.npy uint8 (N, 2, H, W): whether a point is seen before and after.
Shards may be added during a training: the folder is listed anew for every round. Names that begin with a dot are of
those that are not whole yet.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from vfi.errors import ArgumentError, UserError
from vfi.files.atomic import written_whole
from vfi.training.data import Data
from vfi.training.sources import Crop, Random

PREFIX = "shards:"
HELD_OUT = "held"  # the folder beside that of the shards
FIELDS = ("frames", "time", "flow", "visible")
PREPARED = ("quick", "splatted")  # what `prepare` makes of the frames before and after and the time, kept in the shard
PLACES = 16  # pixels: where squares begin, so that what was prepared at a part of the size is cut alike
Prepare = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Beside:
    """Of a batch, beside the frames: times (B,), what was prepared, flows (B, 4 n, h, w) and a frame (B, 3, H, W); the
    flow (B, 4, H, W) and where it is known and seen, (B, 2, H, W)."""

    times: Tensor
    quick: Tensor
    splatted: Tensor
    flow: Tensor
    visible: Tensor

    def to(self, device: torch.device) -> "Beside":
        moved = {name: each.to(device, torch.float32) for name, each in vars(self).items()}
        return Beside(**moved | {"splatted": moved["splatted"] / 255})


@dataclass(frozen=True)
class Shard:
    """Arrays as of this file's head; `quick` float16 (N, 4 n, h, w), `splatted` uint8 (N, 3, H, W)."""

    frames: np.ndarray
    time: np.ndarray
    flow: np.ndarray
    visible: np.ndarray
    quick: np.ndarray
    splatted: np.ndarray


@cache
def opened(folder: Path, prepare: Prepare) -> Shard:
    """A shard's arrays, mapped; what is prepared is made the first time and written beside them.

    Raises:
        UserError: if an array is missing, or not as it should be.
    """
    if not prepared(folder):
        frames, times = array(folder, "frames"), torch.from_numpy(np.array(array(folder, "time")))
        made = [
            prepare(as_frames(sample[0])[None], as_frames(sample[2])[None], time[None])
            for sample, time in zip(frames, times)
        ]
        quick, splatted = map(torch.cat, zip(*made))
        for name, value in zip(PREPARED, (quick.half(), (255 * splatted).round().byte())):
            with written_whole(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, value.numpy())
    return Shard(*(array(folder, name) for name in (*FIELDS, *PREPARED)))


def prepared(folder: Path) -> bool:
    return all((folder / f"{name}.npy").is_file() for name in PREPARED)


def array(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.npy"
    try:
        found: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if name == "frames" and (found.dtype != np.uint8 or found.ndim != 5 or found.shape[1] != 3):
        raise UserError(f"expected {path} to be uint8 (N, 3, H, W, 3), got {found.dtype} {found.shape}")
    return found


def as_frames(pictures: np.ndarray) -> Tensor:
    """(..., H, W, 3) uint8 -> (..., 3, H, W) in [0, 1]."""
    return torch.from_numpy(pictures.copy()).movedim(-1, -3).float() / 255


def listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))


class Samples(Dataset[object]):
    """One by (shard, index, seed): a square of side `crop`, a multiple of 16, cut out, flipped, transposed and reversed
    in time by the seed; None: the middle, as it is."""

    def __init__(self, prepare: Prepare, crop: int) -> None:
        self.prepare, self.crop = prepare, crop

    def __getitem__(self, place: tuple[Path, int, Sequence[int] | None]) -> tuple[Tensor, Beside] | UserError:
        folder, index, seed = place
        try:
            shard = opened(folder, self.prepare)
        except UserError as error:
            return error
        frames = np.moveaxis(shard.frames[index], -1, 1)  # (3, 3, H, W)
        time, flow = float(shard.time[index]), shard.flow[index]
        visible, quick, splatted = shard.visible[index], shard.quick[index], shard.splatted[index]
        random = None if seed is None else np.random.default_rng(seed)
        coarse = quick.shape[-1] / frames.shape[-1]
        for axis in (-1, -2):
            room = (frames.shape[axis] - self.crop) // PLACES
            first = PLACES * (room // 2 if random is None else int(random.integers(room + 1)))
            frames, flow, visible, splatted = (
                cut(each, axis, first, self.crop) for each in (frames, flow, visible, splatted)
            )
            quick = cut(quick, axis, round(first * coarse), round(self.crop * coarse))
        if random is not None:
            for axis in (-1, -2):
                if random.integers(2):
                    frames, visible, splatted = (np.flip(each, axis) for each in (frames, visible, splatted))
                    flow, quick = (mirrored(each, axis) for each in (flow, quick))
            if random.integers(2):
                frames, visible, splatted = (each.swapaxes(-1, -2) for each in (frames, visible, splatted))
                flow, quick = (ordered(each, (1, 0, 3, 2)).swapaxes(-1, -2) for each in (flow, quick))
            if random.integers(2):
                frames, visible, time = frames[::-1], visible[::-1], 1 - time
                flow, quick = (ordered(each, (2, 3, 0, 1)) for each in (flow, quick))
        tensors = (torch.from_numpy(each.copy()) for each in (quick, splatted, flow, visible))
        return torch.from_numpy(frames.copy()), Beside(torch.tensor(time), *tensors)


def cut(array: np.ndarray, axis: int, first: int, count: int) -> np.ndarray:
    return array.take(range(first, first + count), axis)


def mirrored(flow: np.ndarray, axis: int) -> np.ndarray:
    """Of (4 n, h, w), x and y in turn, along the last axis or the one before."""
    result: np.ndarray = np.flip(flow, axis).copy()
    result[-1 - axis :: 2] *= -1
    return result


def ordered(flow: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """Of (4 n, h, w) every four in another order."""
    return flow.reshape(-1, 4, *flow.shape[1:])[:, order].reshape(flow.shape)


def collated(samples: list[tuple[Tensor, Beside] | UserError]) -> tuple[Tensor, Beside] | UserError:
    good = []
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
        good.append(sample)
    fields = zip(*(vars(beside).values() for _, beside in good))
    return torch.stack([frames for frames, _ in good]), Beside(*(torch.stack(each) for each in fields))


class Rounds(Sampler[list[tuple[Path, int, Sequence[int] | None]]]):
    """Of each step its samples: a round of so many steps draws from the shards that are there when it begins, in an
    order by the seed and the round, none twice before all were drawn."""

    def __init__(
        self, folder: Path, prepare: Prepare, batch: int, steps: int, seed: int, start: int, stop: int, augment: bool,
        rank: int, processes: int,
    ):  # fmt: skip
        self.folder, self.prepare, self.batch, self.steps, self.seed = folder, prepare, batch, steps, seed
        self.start, self.stop, self.augment = start, stop, augment
        self.share = slice(rank * batch // processes, (rank + 1) * batch // processes)

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[Path, int, Sequence[int] | None]]]:
        of_round, order = -1, []
        for step in range(self.start, self.stop):
            number, place = divmod(step, self.steps)
            if number != of_round:
                of_round, order = number, self.order(number)
            picked = order[place * self.batch : (place + 1) * self.batch][self.share]
            chance = [(self.seed, step, i) if self.augment else None for i in range(self.batch)][self.share]
            yield [(folder, index, each) for (folder, index), each in zip(picked, chance)]

    def order(self, number: int) -> list[tuple[Path, int]]:
        every = places(self.folder, self.prepare)
        random, wanted = np.random.default_rng([self.seed, number]), self.batch * self.steps
        drawn: list[int] = []
        while len(drawn) < wanted:
            drawn += random.permutation(len(every)).tolist()
        return [every[i] for i in drawn[:wanted]]


def places(folder: Path, prepare: Prepare) -> list[tuple[Path, int]]:
    """Every sample of a folder.

    Raises:
        UserError: if there is none, or a shard cannot be read.
    """
    every = [(shard, i) for shard in listed(folder) for i in range(len(opened(shard, prepare).time))]
    if not every:
        raise UserError(f"expected shards, folders of arrays, in {folder}, got none")
    return every


@dataclass(frozen=True)
class Held:
    """Samples of a folder as triplets, evenly drawn from all shards."""

    every: Sequence[tuple[Path, int]]
    prepare: Prepare

    def __len__(self) -> int:
        return len(self.every)

    def read(self, index: int, size: Crop, random: Random = None) -> tuple[np.ndarray, float]:
        folder, place = self.every[index]
        shard = opened(folder, self.prepare)
        return np.array(shard.frames[place]), float(shard.time[place])

    def sort(self, index: int) -> str:
        """Whether the motion is known: the scene is made up."""
        folder, place = self.every[index]
        return "real" if np.isnan(opened(folder, self.prepare).flow[place, 0, 0, 0]) else "made up"


def data(
    where: str, batch: int, crop: int, steps: int, seed: int, augment: bool, prepare: Prepare,
    say: Callable[[str], None],
) -> Data:  # fmt: skip
    """What "shards:FOLDER" holds, in rounds of `steps`; what is held out is in the folder `held` beside it.

    prepare: of the frames before and after, (1, 3, H, W) in [0, 1] each, and the time (1,), what is kept with the
    sample: flows (1, 4 n, h, w), n times there and back, and a frame (1, 3, H, W). say: is told of what takes long.
    """
    folder = Path(where.removeprefix(PREFIX))
    beside = folder.parent / HELD_OUT
    fresh = [shard for shard in (*listed(folder), *listed(beside)) if not prepared(shard)]
    if fresh:
        say(f"preparing {len(fresh)} of the shards in {folder} and {beside}: once, what each sample begins with")
    every = places(folder, prepare)
    if len(every) < batch:
        raise ArgumentError(f"expected at least {batch} samples, one batch, got {len(every)}; give a smaller `batch`")
    held = Held(places(beside, prepare), prepare) if listed(beside) else None
    height, width = opened(every[0][0], prepare).frames.shape[2:4]
    if min(height, width) < crop:
        raise ArgumentError(
            f"expected samples of at least {crop}x{crop} in {folder}, got {width}x{height}; give `crop`"
        )

    def batches(start: int, stop: int, rank: int, processes: int) -> Rounds:
        return Rounds(folder, prepare, batch, steps, seed, start, stop, augment, rank, processes)

    sorts = None if held is None else [held.sort(i) for i in range(len(held))]
    return Data(
        Samples(prepare, crop), collated, batches, len(every), steps, "samples", f"{crop}x{crop}", held, sorts,
        grows=True,
    )  # fmt: skip
