"""What a video is read from: a file, an animation, or images."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from vfi.video.animation import AnimationReader, is_animation
from vfi.video.interlaced import Deinterlace
from vfi.video.reader import VideoReader
from vfi.video.sequence import SequenceReader

Reader = VideoReader | SequenceReader | AnimationReader


def opened(
    source: Path,
    images: Sequence[Path] = (),
    *,
    target: Path | None = None,
    kind: np.dtype | None = None,
    rate: Fraction = Fraction(25),
    sound: bool = False,
    trusted: bool = False,
    deinterlace: Deinterlace | None = None,
) -> Reader:
    """A reader of `images`, which `source` names; else of the file `source`.

    target, kind, rate: of images and animations, as their readers have it; sound, deinterlace: of files, likewise.
    """
    if images:
        return SequenceReader(source, images, rate, target, kind)
    if is_animation(source):
        return AnimationReader(source, target, trusted=trusted)
    return VideoReader(source, sound=sound, trusted=trusted, deinterlace=deinterlace)
