"""Scenes whose frames between are known: what is asked of a model, and what is checked before anything is scored."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vfi.data.planes import PlaneFrame
from vfi.errors import UserError, require
from vfi.video.av_common import counted

Frame = Path | PlaneFrame
Prepare = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class TrueScene:
    """A scene to evaluate on; `prepare` makes of each frame as it is read (H, W, 3) the one that is used."""

    name: str
    split: str  # "" in a data set without splits
    paths: tuple[Frame, ...]  # the first frame, the true ones between at even times, the last frame
    prepare: Prepare | None = None

    @property
    def times(self) -> list[float]:
        """Of the frames between."""
        return [i / (len(self.paths) - 1) for i in range(1, len(self.paths) - 1)]

    def read(self) -> list[np.ndarray]:
        """Its frames, (H, W, 3) RGB of 8 or 16 bits each, of one size.

        Raises:
            UserError: if one cannot be read, or their sizes or depths differ.
        """
        from vfi.files.images import read_frames  # brings torch

        frames = []
        for path in self.paths:
            if isinstance(path, Path):
                frames += read_frames([path], self.prepare)
            else:
                frames.append(path.read() if self.prepare is None else self.prepare(path.read()))
        if len({(frame.shape, frame.dtype) for frame in frames}) > 1:
            raise UserError(f"the {len(frames)} frames of {self.name} differ in size or depth")
        return frames


def complete(frames: Iterable[tuple[str, Sequence[Frame]]], expected: str) -> None:
    """Refuses scenes, by their names, of which frames are missing. expected: the layout, in words.

    Raises:
        UserError: it counts them and names the first.
    """
    total, lacking, missing = 0, 0, []
    for _, paths in frames:
        found = [path for path in paths if not path.is_file()]
        total, lacking = total + 1, lacking + bool(found)
        missing += found
    if missing:
        more = f" ({counted(len(missing), 'frame')} in all)" if len(missing) > 1 else ""
        verb = "is" if lacking == 1 else "are"
        raise UserError(f"{lacking} of {counted(total, 'scene')} {verb} incomplete: {missing[0]} does not exist{more}; "
                        f"expected {expected}")  # fmt: skip


def same_sizes(scenes: Sequence[TrueScene]) -> None:
    """Refuses scenes whose frames differ in size, by the heads of their files.

    Raises:
        UserError: it counts them, and those that hold no picture, and names the first.
    """
    wrong: list[str] = []
    unreadable: list[Frame] = []
    spoilt = 0
    known: dict[Frame, tuple[int, int] | None] = {}
    for scene in scenes:
        for path in scene.paths:
            if path not in known:
                known[path] = _size(path)
        sizes = [known[path] for path in scene.paths]
        unreadable += [path for path, size in zip(scene.paths, sizes) if size is None]
        spoilt += None in sizes
        found = {size for size in sizes if size is not None}
        if len(found) > 1:
            wrong.append(f"of {scene.name} have {' and '.join(f'{w}x{h}' for h, w in sorted(found))} pixels")
    if unreadable:
        what = "it is not an image, or it is damaged"
        raise UserError(f"{spoilt} of {counted(len(scenes), 'scene')} cannot be read: {unreadable[0]}: {what}")
    if wrong:
        raise UserError(
            f"the frames of {len(wrong)} of {counted(len(scenes), 'scene')} differ in size: those {wrong[0]}"
        )


def _size(path: Frame) -> tuple[int, int] | None:
    """Height and width, upright or not; None of what holds no picture."""
    if isinstance(path, PlaneFrame):
        return path.size
    pillow = require("PIL.Image")
    try:
        with pillow.open(path) as file:
            return file.height, file.width
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError):
        return None


def windows(frames: Sequence[Frame], length: int) -> list[tuple[Frame, ...]]:
    """Runs of `length` frames, each beginning where the one before ends."""
    return [tuple(frames[i : i + length]) for i in range(0, len(frames) - length + 1, length - 1)]
