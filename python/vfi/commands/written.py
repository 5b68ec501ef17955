"""What a run has written, in numbers."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Written:
    """paths: none of a pipe. source_frames: of a video; of images 2. encoder: with its settings, of a video."""

    paths: tuple[Path, ...]
    frames: int
    interpolated: int
    repeated: int = 0
    cuts: int = 0
    source_frames: int = 2
    encoder: str = ""
