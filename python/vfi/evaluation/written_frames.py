"""The frames that a model has made, in a folder, for tools that measure them elsewhere: all to the bit."""

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from vfi.files.atomic import make_folder
from vfi.files.images import write_image
from vfi.video.encoder import RGB, Picture
from vfi.video.encodings import Encoding
from vfi.video.writer import VideoWriter

LOSSLESS = Encoding(codec="libx264rgb", pixels="bgr24", options=(("crf", "0"),))  # in mp4, which tools read by FFmpeg
USUAL_RATE = 24.0  # frames per second of clips that do not say theirs
_LONGEST = 100  # characters of a name


def frame_file(folder: Path, split: str, number: int, name: str, several: bool) -> Path:
    """Of a scene, by its number and its name: a PNG, or an mp4 where `several` frames are between."""
    words = re.sub(r"[^A-Za-z0-9_]+", "-", name.removeprefix(f"{split} ").removesuffix(".png")).strip("-")
    return folder / split / f"{number:05}-{words[-_LONGEST:]}{'.mp4' if several else '.png'}"


def write_frames(path: Path, frames: Sequence[np.ndarray], fps: float = USUAL_RATE) -> None:
    """Of a scene, the ends counted, (H, W, 3) each: as a PNG the one between, as an mp4 all.

    An mp4 holds 8 bits per sample.

    Raises:
        UserError: if the file cannot be written.
    """
    make_folder(path.parent)
    if path.suffix == ".png":
        (_, frame, _) = frames
        write_image(path, frame)
        return
    rate = Fraction(fps).limit_denominator(1001)
    height, width = frames[0].shape[:2]
    writer = VideoWriter(path, Picture(width, height, rate, 1 / rate, Fraction(1), RGB), LOSSLESS, replaces=True)
    try:
        for number, frame in enumerate(frames):
            writer.write(frame if frame.dtype == np.uint8 else (frame / 257).round().astype(np.uint8), number / rate)
        writer.finish()
    except BaseException:
        writer.discard()
        raise
