"""What cameras, codecs and scalers do to frames (N, H, W, 3); sizes stay, and flow is that of before."""

import math
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from vfi.files.opencv import opencv

UNTOUCHED = 0.3
CODECS = {"libx264": "h264", "mpeg4": "mpeg4", "mpeg2video": "mpeg2video", "mjpeg": "mjpeg"}


def degraded(rng: np.random.Generator, frames: np.ndarray) -> np.ndarray:
    """Of float32 in [0, 1]; as uint8. Some only rounded; most through several of these, in the order of a camera."""
    if rng.random() < UNTOUCHED:
        return rounded(frames)
    height, width = frames.shape[1:3]
    shrink = rng.uniform(1.2, 3) if rng.random() < 0.3 else 1.0
    if rng.random() < 0.25:
        frames = blurred(frames, rng.uniform(0.4, 1.4))
    if shrink > 1:
        frames = scaled(frames, max(48, round(height / shrink)), max(48, round(width / shrink)))
    if rng.random() < 0.5:
        frames = noisy(rng, frames)
    result = rounded(frames)
    if rng.random() < 0.6:
        result = compressed(rng, result)
    elif rng.random() < 0.3:
        result = as_jpeg(rng, result)
    return scaled(result, height, width, sharp=rng.random() < 0.6)


def rounded(frames: np.ndarray) -> np.ndarray:
    return np.rint(frames.clip(0, 1) * np.float32(255)).astype(np.uint8)


def blurred(frames: np.ndarray, radius: float) -> np.ndarray:
    return np.stack([opencv().GaussianBlur(frame, (0, 0), radius) for frame in frames])


def scaled(frames: np.ndarray, height: int, width: int, sharp: bool = True) -> np.ndarray:
    cv2 = opencv()
    if frames.shape[1:3] == (height, width):
        return frames
    grows = cv2.INTER_CUBIC if sharp else cv2.INTER_LINEAR
    method = cv2.INTER_AREA if height < frames.shape[1] else grows
    return np.stack([cv2.resize(frame, (width, height), interpolation=method) for frame in frames])


def noisy(rng: np.random.Generator, frames: np.ndarray) -> np.ndarray:
    """Stronger where it is light, sometimes coarse as after a scaler, sometimes partly the same in every frame."""
    strength = math.exp(rng.uniform(math.log(0.004), math.log(0.06)))
    field = rng.standard_normal(frames.shape, dtype=np.float32)
    grey = np.float32(rng.uniform(0, 1))
    field = grey * field[..., :1] + (1 - grey) * field
    if rng.random() < 0.4:
        radius = rng.uniform(0.4, 1.2)
        field = blurred(field, radius) * np.float32(1 + 2 * radius)
    if rng.random() < 0.1:
        field[1:] = field[:1]
    lit = np.float32(1) if rng.random() < 0.5 else np.sqrt(frames + np.float32(0.05))
    return frames + np.float32(strength) * field * lit


def as_jpeg(rng: np.random.Generator, frames: np.ndarray) -> np.ndarray:
    cv2 = opencv()
    settings = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 96))]
    return np.stack([cv2.imdecode(cv2.imencode(".jpg", frame, settings)[1], cv2.IMREAD_COLOR) for frame in frames])


def compressed(rng: np.random.Generator, frames: np.ndarray) -> np.ndarray:
    """Through a video codec at a random strength: 4:2:0, blocks, drift; each frame alone, or after those before it.

    In the latter case the same frames come before them the other way round: what is kept has no key frame.
    """
    codec = str(rng.choice(list(CODECS), p=(0.5, 0.25, 0.1, 0.15)))
    # Sizes of these codecs are even.
    height, width = (n - n % 2 for n in frames.shape[1:3])
    after = rng.random() < 0.6
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.time_base = width, height, Fraction(1, 25)
    encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encoder.thread_count = 1
    if codec == "libx264":
        options = {"crf": rng.integers(16, 35), "preset": rng.choice(("ultrafast", "veryfast")), "tune": "zerolatency"}
    else:
        options = {"flags": "+qscale", "global_quality": 118 * rng.integers(2, 13)}
    encoder.options = {name: str(value) for name, value in {**options, "g": 12 if after else 1}.items()}
    shown = [np.ascontiguousarray(frame[:height, :width]) for frame in frames]
    made = through(encoder, CODECS[codec], [*shown[:0:-1], *shown] if after else shown)
    result = frames.copy()
    result[:, :height, :width] = made[-len(frames) :]
    return result


def through(encoder: av.CodecContext, codec: str, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What comes out of a decoder of the codec."""
    decoder = av.CodecContext.create(codec, "r")
    decoder.thread_count = 1
    packets = []
    for number, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture.pts = number
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    return [picture.to_ndarray(format="rgb24") for packet in [*packets, None] for picture in decoder.decode(packet)]
