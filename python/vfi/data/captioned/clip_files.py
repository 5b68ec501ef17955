"""Clips as videos of their own, so that reading one does not decode all that comes before it."""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path

from vfi.errors import UserError
from vfi.files.atomic import make_folder
from vfi.video.encoder import BT709, RGB, Picture
from vfi.video.encodings import Encoding
from vfi.video.reader import VideoReader
from vfi.video.writer import VideoWriter

LOSSLESS = Encoding(codec="ffv1", pixels="bgr0")  # every bit of an RGB picture
FINE = Encoding(codec="libx264", crf=10)


def clip_name(video: Path, count: int, lossless: bool = False) -> str:
    """Of the file, with a folder: the video's name, digits of its whole path, the number of frames."""
    digits = hashlib.sha256(str(video).encode(errors="surrogateescape")).hexdigest()[:12]
    return f"{digits[:2]}/{video.stem}-{digits}-{count:03d}{'.mkv' if lossless else '.mp4'}"


def write_clips(video: Path, clips: Sequence[tuple[int, int, Path]], lossless: bool = False) -> None:
    """Writes clips of a video, each from its first frame, so many frames, to a path; reads the video once.

    Raises:
        UserError: if the video has fewer frames than that, or a file cannot be written.
    """
    begin = min(first for first, _, _ in clips)
    end = max(first + count for first, count, _ in clips)
    with ExitStack() as stack:
        reader = stack.enter_context(closing(VideoReader(video)))
        info = reader.info
        rate = info.rate
        picture = Picture(info.width, info.height, rate, 1 / rate, info.pixel_aspect, RGB if lossless else BT709)
        writers = []
        for first, count, path in clips:
            make_folder(path.parent)
            writer = VideoWriter(path, picture, LOSSLESS if lossless else FINE)
            stack.callback(writer.discard)
            writers.append((first, first + count, writer))
        reached = begin
        for number, rgb in enumerate(reader.pictures(begin, end - begin), begin):
            for first, until, writer in writers:
                if first <= number < until:
                    writer.write(rgb, Fraction(number - first) / rate)
            reached = number + 1
        if reached < end:
            raise UserError(f"expected at least {end} frames in {video}, got {reached}: it has changed")
        for _, _, writer in writers:
            writer.finish()
