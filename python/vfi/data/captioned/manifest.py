"""The manifest: a line of JSON for each clip."""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vfi.errors import UserError
from vfi.files import json_lines

COUNTS = (5, 9, 17, 33, 65, 81)  # frames of a clip: the set S


@dataclass(frozen=True)
class ClipRecord:
    """A clip of a video."""

    video: str  # relative to the manifest's folder, or absolute
    first: int  # number of its first frame in the video, from 0
    frames: int
    fps: float
    size: tuple[int, int]  # height and width of the video
    caption: str
    clip_score: float | None  # of the whole video; None: not measured
    flow_score: float | None
    file: str | None = None  # the clip as a video of its own, if it was written

    def as_json(self) -> dict[str, object]:
        return {key: value for key, value in asdict(self).items() if key != "file" or value is not None}


def cut(frames: int, count: int) -> int:
    """The first of the `count` frames in the middle of a video of `frames`: (frames - count) / 2, rounded down.

    Equation 3 cuts from f/2 - s/2 to f/2 + s/2, which are s frames if its end is left out.
    """
    return (frames - count) // 2


def named(path: Path, manifest: Path) -> str:
    """A path as the manifest names it: relative to its folder if it lies below that, else absolute."""
    path, folder = Path(os.path.abspath(path)), Path(os.path.abspath(manifest.parent))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def read_manifest(path: Path) -> list[ClipRecord]:
    """The clips of a manifest in its order; a last line that was not finished is left out.

    Raises:
        UserError: if it cannot be read, a line is no clip, or there is none.
    """
    records = [_record(line, f"clip {number} of {path}") for number, line in enumerate(json_lines.read(path), 1)]
    if not records:
        raise UserError(f"there is no clip in {path}")
    return records


def _record(line: Mapping[str, object], where: str) -> ClipRecord:
    def number(name: str, least: float, whole: bool = True) -> Any:
        value: Any = line.get(name)
        good = type(value) is int or (not whole and type(value) is float and math.isfinite(value))
        if not good or not least <= value < 2**31:
            raise UserError(f"expected {name} of {where} to be a number from {least:g}, got {value!r:.40}")
        return value

    def text(name: str, default: str | None = None) -> str:
        value = line.get(name, default)
        if not isinstance(value, str):
            raise UserError(f"expected {name} of {where} to be a text, got {value!r:.40}")
        return value

    size = line.get("size")
    if not (isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size)):
        raise UserError(f"expected size of {where} to be height and width, got {size!r:.40}")
    clip, flow = (None if line.get(name) is None else number(name, -1, False) for name in ("clip_score", "flow_score"))
    return ClipRecord(
        text("video"), number("first", 0), number("frames", 2), float(number("fps", 0, False)), (size[0], size[1]),
        text("caption", ""), clip, flow, None if line.get("file") is None else text("file"),
    )  # fmt: skip
