"""Videos of a few tiny frames, made to measure: each frame shows its number."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIDE = 32
WITH_B_FRAMES = ("libx264", "mpeg4", "mpeg2video")
STEP = 6  # of brightness, from a frame to the next


def numbered(number: int, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 12, (height, width, 3))
    return (noise + 16 + STEP * number).astype(np.uint8)


def number_of(rgb: np.ndarray) -> int:
    return round((float(rgb.mean()) - 16 - 5.5) / STEP)


def make(
    path: Path,
    count: int = 12,
    *,
    rate: Fraction | int = 25,
    codec: str = "libx264",
    stamps: Sequence[int] | None = None,
    clock: Fraction | None = None,
    first: int = 0,
    b_frames: int = 0,
    sound: str | None = None,
    sound_from: float = 0,
    pixels: str = "yuv420p",
    sizes: Sequence[tuple[int, int]] | None = None,
) -> Path:
    """A video of frames number `first` and so on.

    stamps: their times on `clock`. sound: codec of a second track of silence; it begins at `sound_from` seconds.
    sizes: (width, height) of each frame, for encoders that take any.
    """
    clock = clock or 1 / Fraction(rate)
    options = {"bf": str(b_frames), "b_strategy": "0", "g": "6"} if codec in WITH_B_FRAMES else {}
    if codec == "libx265":
        options = {"x265-params": f"log-level=none:crf=12:bframes={b_frames}:b-adapt=0:keyint=6"}
    with av.open(str(path), "w", options={"strict": "unofficial", "fflags": "+bitexact"}) as container:
        video = container.add_stream(codec, rate=rate, options=options)
        video.width, video.height = sizes[0] if sizes else (SIDE, SIDE)
        video.pix_fmt, video.codec_context.time_base = pixels, clock
        if codec in ("mpeg4", "mpeg2video"):
            video.codec_context.bit_rate = 4_000_000
        packets = []
        audio = container.add_stream(sound, rate=48000, layout="stereo") if sound else None
        for index in range(count):
            size = sizes[index] if sizes else (SIDE, SIDE)
            frame = av.VideoFrame.from_ndarray(numbered(first + index, *size), format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = (stamps[index] if stamps else index), clock
            packets += video.encode(frame)
        packets += video.encode(None)
        if audio is not None:
            packets += _silence(audio, sound_from, count / Fraction(rate))
        container.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
    return path


def film(
    path: Path,
    pictures: Sequence[np.ndarray],
    codec: str = "ffv1",
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    rate: int = 25,
) -> Path:
    """A video of given pictures, (H, W, 3) uint8 RGB."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        if codec == "mpeg2video":
            stream.codec_context.bit_rate = 8_000_000
        for n, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = n, 1 / Fraction(rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def join(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def _silence(audio, start: float, end: Fraction) -> list:
    packets = []
    if audio.codec_context.name.startswith("wma"):
        audio.bit_rate = 96_000
    resampler = av.AudioResampler(audio.codec_context.format, audio.codec_context.layout, 48000)
    for place in range(round(start * 48000), round(end * 48000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, place, Fraction(1, 48000)
        packets += [packet for part in resampler.resample(frame) for packet in audio.encode(part)]
    return packets + audio.encode(None)
