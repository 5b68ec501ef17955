"""Where triplets and clips for training come from: files, or made up."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

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
MOTION = 1 / 8  # of the shorter side of a synthetic picture
FRESH = 1_000_000  # seeds of synthetic scenes that are held out


Crop = int | tuple[int, int]  # side of a square, or height and width
Random = np.random.Generator | None


def sides(crop: Crop) -> tuple[int, int]:
    """Height and width."""
    return crop if isinstance(crop, tuple) else (crop, crop)


class Source(Protocol):
    """Where triplets, or clips of N frames at even times, come from."""

    def __len__(self) -> int: ...

    def read(self, index: int, size: Crop, random: Random = None) -> tuple[np.ndarray, float]:
        """(3 or N, H, W, 3) uint8 RGB, H and W at least `size`, and the time of the middle one.

        random: of a source that has a choice of frames; None: always the same.
        """


@dataclass(frozen=True)
class Files:
    """Three pictures each; the middle one is at 0.5."""

    triplets: Sequence[Sequence[Path]]

    def __len__(self) -> int:
        return len(self.triplets)

    def read(self, index: int, size: Crop, random: Random = None) -> tuple[np.ndarray, float]:
        return pictures(self.triplets[index], size), 0.5


@dataclass(frozen=True)
class AnyThree:
    """Three pictures of longer sequences at even times, drawn anew each time: the one between may be at any time, as
    RIFEm is trained. Not drawn: the first, the middle and the last."""

    sequences: Sequence[Sequence[Path]]

    def __len__(self) -> int:
        return len(self.sequences)

    def read(self, index: int, size: Crop, random: Random = None) -> tuple[np.ndarray, float]:
        paths = self.sequences[index]
        last = len(paths) - 1
        chosen = [0, last // 2, last] if random is None else sorted(random.permutation(len(paths))[:3].tolist())
        before, between, after = chosen
        return pictures([paths[place] for place in chosen], size), (between - before) / (after - before)


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

    def read(self, index: int, size: Crop, random: Random = None) -> tuple[np.ndarray, float]:
        number = bisect_right(self.ends, index)
        paths = self.sequences[number]
        first = len(paths) - self.frames + 1 - (self.ends[number] - index)
        return pictures(paths[first : first + self.frames], size), 0.5


def pictures(paths: Sequence[Path], size: Crop) -> np.ndarray:
    """(N, H, W, 3) uint8."""
    frames, (least_high, least_wide) = read_frames(paths), sides(size)
    height, width = frames[0].shape[:2]
    if height < least_high or width < least_wide:
        wanted = f"frames of at least {least_wide}x{least_high} in {paths[0].parent}"
        raise ArgumentError(f"expected {wanted}, got {width}x{height}; give `crop`")
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

    def read(self, index: int, size: Crop, random: Random = None) -> tuple[np.ndarray, float]:
        seed = self.first_seed + index
        if self.frames != 3:
            return rendered(seed, sides(size), even_times(self.frames), "mixed"), 0.5
        time = float(np.random.default_rng([seed, 1]).uniform(0.1, 0.9)) if self.any_time else 0.5
        return rendered(seed, sides(size), (0, time, 1), "uniform"), time


@lru_cache(maxsize=64)  # a few scenes are seen again and again
def rendered(seed: int, size: tuple[int, int], times: tuple[float, ...], motion: MotionName) -> np.ndarray:
    """(N, height, width, 3) uint8."""
    scene = random_scene(seed, size, max_motion=min(size) * MOTION, photographs=True, motion=motion)
    frames = torch.stack([scene.frame(moment) for moment in times])
    return (frames.permute(0, 2, 3, 1) * 255).round().byte().numpy()


def sources(data: str, any_time: bool = False, frames: int = 3) -> tuple[Source, Source | None]:
    """What to train on, and what is held out to watch the quality; None if there is too little for that.

    Args:
        data: "synthetic", or "synthetic:N" for N scenes; or a folder. For three frames that of Vimeo90K's triplets
            (with tri_trainlist.txt), or one of folders with im1, im2, im3 (.png). For others one of folders of images,
            in the order of their names; for seven also that of Vimeo90K's septuplets (sep_trainlist.txt).
        any_time: the network interpolates at any time: septuplets will do for three frames, see `AnyThree`.
        frames: how many an objective is trained on at once, an odd number.
    """
    count = made_up(data)
    if count is not None:
        held_out = Synthetic(min(max(count // 20, 1), 32), FRESH, any_time, frames)
        return Synthetic(count, any_time=any_time, frames=frames), held_out
    root = Path(data)
    if not root.is_dir():
        raise UserError(f"expected a folder of triplets, or the word {SYNTHETIC}, got {data}")
    any_three = frames == 3 and any_time and not (root / VIMEO[3]).is_file() and (root / VIMEO[7]).is_file()
    samples = listed(root, 7 if any_three else frames)
    kept = len(samples) - int(len(samples) * HELD_OUT)

    def source(part: Sequence[Sequence[Path]]) -> Source:
        return AnyThree(part) if any_three else Files(part) if frames == 3 else Windows(part, frames)

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
