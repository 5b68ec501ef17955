"""Small files of every kind that videos and images are read from, and what may have happened to them on their way."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tiny_videos import make, numbered

from vfi.files import images

COUNT = 10
VIDEOS: dict[str, dict] = {
    "in.mp4": {"b_frames": 2, "sound": "aac"},
    "in.mov": {"codec": "prores_ks", "pixels": "yuv422p10le", "sound": "pcm_s16le"},
    "in.m4v": {"codec": "mpeg4"},
    "in.3gp": {"codec": "h263", "sizes": [(128, 96)] * COUNT, "sound": "aac"},
    "in.mkv": {"codec": "libx265", "pixels": "yuv420p10le", "sound": "flac"},
    "in.webm": {"codec": "libvpx-vp9", "sound": "libopus"},
    "av1.mp4": {"codec": "libsvtav1", "sizes": [(64, 64)] * COUNT},
    "in.avi": {"codec": "mpeg4", "b_frames": 2, "sound": "libmp3lame"},
    "in.ts": {"b_frames": 2, "sound": "aac"},
    "in.m2ts": {"sound": "ac3"},
    "in.mpg": {"codec": "mpeg2video", "b_frames": 2, "sound": "mp2"},
    "in.vob": {"codec": "mpeg2video", "sound": "ac3"},
    "in.mxf": {"codec": "mpeg2video", "sound": "pcm_s16le"},
    "in.flv": {"codec": "flv", "sound": "aac"},
    "in.wmv": {"codec": "wmv2", "sound": "wmav2"},
    "in.nut": {"codec": "ffv1"},
    "in.y4m": {"codec": "wrapped_avframe"},
    "in.264": {"b_frames": 2},
    "in.m2v": {"codec": "mpeg2video"},
    "in.mjpeg": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "in.gif": {"codec": "gif", "pixels": "rgb8"},
    "in.apng": {"codec": "apng", "pixels": "rgb24"},
}
IMAGES = tuple(f"in{suffix}" for suffix in images.IMAGES)
SPECIAL = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63 - 1, 2**64 - 1)


def make_seeds(folder: Path) -> None:
    """One file of each kind."""
    for name, options in VIDEOS.items():
        make(folder / name, COUNT, **options)
    for name in IMAGES:
        images.write_image(folder / name, numbered(3))


def _span(data: bytearray, draw: random.Random) -> slice:
    at = draw.randrange(len(data))
    return slice(at, at + draw.choice((1, 8, 64, 512, 4096)))


def _flip(data: bytearray, draw: random.Random, _: bytes) -> None:
    for _ in range(draw.choice((1, 3, 30))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _cut(data: bytearray, draw: random.Random, _: bytes) -> None:
    del data[draw.choice((draw.randrange(len(data)), draw.randrange(min(len(data), 64)))) :]


def _zero(data: bytearray, draw: random.Random, _: bytes) -> None:
    where = _span(data, draw)
    data[where] = bytes(len(data[where]))


def _double(data: bytearray, draw: random.Random, _: bytes) -> None:
    piece = data[_span(data, draw)]
    at = draw.randrange(len(data))
    data[at:at] = piece


def _swap(data: bytearray, draw: random.Random, _: bytes) -> None:
    one, other = _span(data, draw), _span(data, draw)
    data[one], data[other] = data[other], data[one]


def _insert(data: bytearray, draw: random.Random, _: bytes) -> None:
    at = draw.randrange(len(data))
    data[at:at] = draw.randbytes(draw.choice((1, 7, 300)))


def _remove(data: bytearray, draw: random.Random, _: bytes) -> None:
    del data[_span(data, draw)]


def _number(data: bytearray, draw: random.Random, _: bytes) -> None:
    """A number of the head becomes another one."""
    length = draw.choice((1, 2, 4, 8))
    at = draw.randrange(min(len(data), 1024))
    data[at : at + length] = (draw.choice(SPECIAL) % 256**length).to_bytes(length, draw.choice(("big", "little")))


def _graft(data: bytearray, draw: random.Random, other: bytes) -> None:
    """The head of one kind and the body of another."""
    at = draw.choice((8, 64, 512, len(data) // 2))
    data[at:] = other[at:]


MUTATIONS: tuple[Callable[[bytearray, random.Random, bytes], None], ...] = (
    _flip, _cut, _zero, _double, _swap, _insert, _remove, _number, _number, _graft,
)  # fmt: skip


def mutated(files: dict[str, bytes], number: int) -> tuple[str, bytes, random.Random]:
    """Case `number`: a name, what is in the file, and what else is drawn from."""
    draw = random.Random(number)
    names = list(files)
    name = names[number % len(names)]
    data = bytearray(files[name])
    for _ in range(draw.choice((1, 1, 2, 3))):
        if data:
            draw.choice(MUTATIONS)(data, draw, files[draw.choice(names)])
    return name, bytes(data), draw


def picture(number: int) -> np.ndarray:
    return numbered(number)
