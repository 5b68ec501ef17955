"""Clips with captions for training: from a manifest or made up, and batches of clips of one length."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from vfi.data.captioned.manifest import COUNTS, ClipRecord, read_manifest
from vfi.data.synthetic import random_scene
from vfi.data.synthetic.clips import even_times
from vfi.data.synthetic.scene import Layer
from vfi.errors import ArgumentError, UserError
from vfi.files.opencv import opencv
from vfi.video.reader import VideoReader

SIZE = (480, 832)  # height and width that SemFi is trained on
MOTION = 1 / 8  # of the shorter side of a made-up clip
MADE_UP_RATE = 16.0  # frames per second that it is said to have


class ClipSource(Protocol):
    """Where clips with captions come from."""

    size: tuple[int, int]

    def __len__(self) -> int: ...

    @property
    def counts(self) -> Mapping[int, list[int]]:
        """The indices of the clips of each length."""

    def fps(self, index: int) -> float:
        """Frames per second of one clip."""

    def read(self, index: int) -> tuple[Tensor, str]:
        """Its frames (s, 3, H, W) uint8 RGB, and its caption; always the same."""


class CaptionedClips:
    """The clips of a manifest, each frame resized to cover `size` and cut to its middle.

    Args:
        manifest: what `python -m vfi.commands.make_clips` wrote.
        size: height and width.
        counts: only clips of so many frames; None: all.

    Raises:
        UserError: if the manifest cannot be read, or has none of these.
    """

    def __init__(self, manifest: str | Path, size: tuple[int, int] = SIZE, counts: Sequence[int] | None = None) -> None:
        self.folder, self.size = Path(manifest).parent, size
        records = read_manifest(Path(manifest))
        self.records: list[ClipRecord] = [one for one in records if counts is None or one.frames in counts]
        if not self.records:
            raise UserError(f"no clip of {manifest} has {' or '.join(map(str, counts or ()))} frames")

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def counts(self) -> dict[int, list[int]]:
        return by_count([record.frames for record in self.records])

    def fps(self, index: int) -> float:
        return self.records[index].fps

    def file(self, index: int) -> Path:
        """That a clip is read from."""
        record = self.records[index]
        return self.folder / (record.file or record.video)

    def read(self, index: int) -> tuple[Tensor, str]:
        """Frames (s, 3, H, W) uint8 RGB, and the caption.

        Raises:
            UserError: if the video cannot be read, is damaged, or has become shorter.
        """
        record, path = self.records[index], self.file(index)
        if not path.is_file():
            raise UserError(f"{path} does not exist, but the manifest names it")
        first = 0 if record.file else record.first
        frames = np.empty((record.frames, *self.size, 3), np.uint8)
        count = 0
        with closing(VideoReader(path)) as reader:
            for rgb in reader.pictures(first, record.frames):
                frames[count] = covering(rgb, self.size)
                count += 1
            if reader.shortfall.damaged or count < record.frames:
                raise UserError(f"expected frames {first} to {first + record.frames - 1} in {path}; it has changed")
        return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous(), record.caption


def covering(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture (H, W, 3) resized, with its proportions, to cover `size`, and cut to its middle."""
    cv2 = opencv()
    scale = max(new / old for new, old in zip(size, rgb.shape))
    height, width = (max(new, round(old * scale)) for new, old in zip(size, rgb.shape))
    if (height, width) != rgb.shape[:2]:
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        rgb = cv2.resize(rgb, (width, height), interpolation=way)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return rgb[top : top + size[0], left : left + size[1]]


def by_count(frames: Sequence[int]) -> dict[int, list[int]]:
    """The indices of each length, the shortest first."""
    return {count: [i for i, one in enumerate(frames) if one == count] for count in sorted(set(frames))}


class SyntheticClips:
    """Made-up scenes with captions that say what moves where; one scene for each index, the lengths in turn.

    Args:
        count: how many.
        size: height and width.
        counts: frames of the clips.
        first_seed: of the first scene; the others follow.
    """

    def __init__(
        self, count: int, size: tuple[int, int] = SIZE, counts: Sequence[int] = COUNTS, first_seed: int = 0
    ) -> None:
        self.count, self.size, self.lengths, self.first_seed = count, size, tuple(counts), first_seed

    def __len__(self) -> int:
        return self.count

    @cached_property
    def counts(self) -> dict[int, list[int]]:
        return by_count([self.lengths[i % len(self.lengths)] for i in range(self.count)])

    def fps(self, index: int) -> float:
        return MADE_UP_RATE

    def read(self, index: int) -> tuple[Tensor, str]:
        """Frames (s, 3, H, W) uint8 RGB at even times of a scene, and its caption."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        scene = random_scene(
            self.first_seed + index, self.size, max_motion=min(self.size) * MOTION, photographs=True, motion="mixed"
        )
        times = even_times(self.lengths[index % len(self.lengths)])
        frames = torch.stack([(scene.frame(time) * 255).round().byte() for time in times])
        return frames, caption(scene.layers, min(self.size))


def caption(layers: Sequence[Layer], side: int) -> str:
    """What the layers do from the first to the last frame."""
    background, *objects = (_described(layer, side) for layer in layers)
    return " ".join([f"The background {background}.", *(f"In front of it a shape {one}." for one in objects)])


def _described(layer: Layer, side: int) -> str:
    """Such as `moves to the right and down, and turns clockwise`."""
    (before, start), (after, end) = (layer.motion.affine(time) for time in (0, 1))
    x, y = (end - start).ravel()
    far = math.hypot(x, y)
    if far < 0.01 * side:
        text = "stays where it is"
    else:
        names = ((x, "to the right", "to the left"), (y, "down", "up"))
        ways = [more if way > 0 else less for way, more, less in names if abs(way) > 0.38 * far]
        text = f"moves {'slowly ' if far < 0.05 * side else ''}{' and '.join(ways)}"
    turn = layer.motion.angle(1) - layer.motion.angle(0)
    if abs(turn) > 0.1:
        text += f" and turns {'clockwise' if turn > 0 else 'counterclockwise'}"
    grown = math.sqrt(abs(np.linalg.det(after) / np.linalg.det(before)))
    if abs(grown - 1) > 0.05:
        text += f" and {'grows' if grown > 1 else 'shrinks'}"
    return text


class ClipBatches(Sampler[list[tuple[int, int]]]):
    """Of each step from `start` to `stop`: epoch and index of one process's share of a batch of clips of one length.

    In an epoch each length has as many batches as its clips fill; their order, and what is left out, are drawn anew for
    every epoch, by the seed. So a length is met as often as it has full batches. The steps are the same however many
    processes share them, and wherever they start.
    """

    def __init__(
        self,
        counts: Mapping[int, Sequence[int]],
        batch: int,
        seed: int,
        start: int,
        stop: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        if batch < 1 or not any(len(indices) >= batch for indices in counts.values()):
            most = max((len(indices) for indices in counts.values()), default=0)
            wanted = f"{batch} clips of one length, one batch"
            raise ArgumentError(f"expected at least {wanted}, got {most}; give a smaller `batch`")
        self.counts, self.batch, self.seed = dict(counts), batch, seed
        self.start, self.stop = start, stop
        self.share = slice(rank * batch // processes, (rank + 1) * batch // processes)

    @property
    def epoch_steps(self) -> int:
        return sum(len(indices) // self.batch for indices in self.counts.values())

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch_of_order, order = -1, np.empty((0, self.batch), dtype=np.int64)
        for step in range(self.start, self.stop):
            epoch, place = divmod(step, self.epoch_steps)
            if epoch != epoch_of_order:
                epoch_of_order, order = epoch, self.ordered(epoch)
            yield [(epoch, int(index)) for index in order[place][self.share]]

    def ordered(self, epoch: int) -> np.ndarray:
        """(batches, batch): the indices of an epoch."""
        batches = []
        for count, indices in sorted(self.counts.items()):
            mixed = np.random.default_rng([self.seed, epoch, count]).permutation(np.asarray(indices, dtype=np.int64))
            full = len(mixed) // self.batch * self.batch
            batches.append(mixed[:full].reshape(-1, self.batch))
        every = np.concatenate(batches)
        return every[np.random.default_rng([self.seed, epoch]).permutation(len(every))]
