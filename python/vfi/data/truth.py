"""Scenes whose frames between are known: what is asked of a model, and what is checked before anything is scored."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vfi.data.planes import PlaneFrame
from vfi.errors import UserError, require
from vfi.video.av_common import counted

if TYPE_CHECKING:
    import numpy as np

Frame = Path | PlaneFrame


@dataclass(frozen=True)
class TrueScene:
    """A scene to evaluate on; `prepare` makes of each frame as it is read (H, W, 3) the one that is used."""

    name: str
    split: str  # "" in a data set without splits
    paths: tuple[Frame, ...]  # the first frame, the true ones between at even times, the last frame
    prepare: "Callable[[np.ndarray], np.ndarray] | None" = None
    size: tuple[int, int] | None = None  # height and width of the published frames, where all have one

    @property
    def times(self) -> list[float]:
        """Of the frames between."""
        return [i / (len(self.paths) - 1) for i in range(1, len(self.paths) - 1)]

    def read(self) -> "list[np.ndarray]":
        """Its frames, (H, W, 3) RGB of 8 or 16 bits each, of one size.

        Raises:
            UserError: if one cannot be read, or their sizes or depths differ.
        """
        frames = [_pixels(path) if isinstance(path, Path) else path.read() for path in self.paths]
        sizes = {frame.shape[:2] for frame in frames}
        if len(sizes) > 1 or len({frame.dtype for frame in frames}) > 1:
            raise UserError(f"the {len(frames)} frames of {self.name} differ in size or depth")
        if self.size not in (None, *sizes):
            raise UserError(f"expected frames of {_told(self.size)} in {self.name}, got {_told(*sizes)}")
        return frames if self.prepare is None else [self.prepare(frame) for frame in frames]


def _pixels(path: Path) -> "np.ndarray":
    """(H, W, 3), without what a decoder of JPEG makes up for damage."""
    from vfi.files.images import read_frames, read_image  # bring torch

    if path.suffix.lower() not in (".jpg", ".jpeg"):
        return read_frames([path])[0]
    image = read_image(path)
    if image.damage:
        raise UserError(f"cannot read {path}: it is damaged ({image.damage})")
    return image.rgb


def _told(*sizes: tuple[int, int] | None) -> str:
    return " and ".join(f"{size[1]}x{size[0]}" for size in sorted(filter(None, sizes)))


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
    """Refuses scenes whose frames differ in size, or have another than the published ones, by the heads of their files.

    Raises:
        UserError: it counts them, and those that hold no picture, and names the first.
    """
    wrong: list[str] = []
    other: list[str] = []
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
            wrong.append(f"of {scene.name} have {_told(*found)} pixels")
        elif scene.size is not None and found - {scene.size}:
            other.append(f"expected {_told(scene.size)}, got {_told(*found)} in {scene.name}")
    if unreadable:
        what = "it is not an image, or it is damaged"
        raise UserError(f"{spoilt} of {counted(len(scenes), 'scene')} cannot be read: {unreadable[0]}: {what}")
    if wrong:
        raise UserError(
            f"the frames of {len(wrong)} of {counted(len(scenes), 'scene')} differ in size: those {wrong[0]}"
        )
    if other:
        raise UserError(f"{len(other)} of {counted(len(scenes), 'scene')} have another size than published: {other[0]}")


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
