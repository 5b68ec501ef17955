"""Small pictures and videos, made on the spot."""

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from vfi.video import priority
from vfi.video.av_common import EXACT_CONVERSION

SOUND_RATE = 8000


@pytest.fixture(scope="session", autouse=True)
def no_ones_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test chooses or builds stays with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VFI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def engines_of_auto() -> Iterator[tuple[str, ...]]:
    """Those that users have. In tests the engine "auto" takes torch: to export a network takes seconds."""
    from vfi.engines import plans

    with pytest.MonkeyPatch.context() as patch:
        before = plans.AUTO
        patch.setattr(plans, "AUTO", ("torch",))
        yield before


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """What a test writes need not outlive a loss of power; a disk takes ten milliseconds for each file of a result."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True)
def usual_priority() -> Iterator[None]:
    """Tests that encode AV1 by themselves, as root, leave no real-time threads, which would starve those of others."""
    with priority.kept():
        yield


@pytest.fixture
def every_engine(monkeypatch: pytest.MonkeyPatch, engines_of_auto: tuple[str, ...]) -> None:
    """The engine "auto" is what it is for users."""
    from vfi.engines import plans

    monkeypatch.setattr(plans, "AUTO", engines_of_auto)


@pytest.fixture
def mean_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames between two are their means, for tests of all that is around them: flow-splat's take a hundredth of a
    second each."""
    from video_runs import means

    from vfi.models.flow_splat import FlowSplat

    monkeypatch.setattr(FlowSplat, "interpolate_many", means)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_engine: None) -> Path:
    """Of one test; what it draws is the same each time."""
    import torch

    monkeypatch.setenv("VFI_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    return tmp_path / "cache"


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> object:
    """In place of the libraries of engines."""
    import engine_stand_ins

    return engine_stand_ins.install(monkeypatch)


@pytest.fixture(scope="session")
def texture() -> np.ndarray:
    """A smooth random colour picture, (96, 192, 3) uint8, to cut frames from."""
    import cv2

    # Mostly brightness: videos keep a quarter of the colours only.
    noise = np.random.default_rng(0).normal(size=(96, 192, 4))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    smooth /= smooth.std()
    return np.clip(128 + 38 * smooth[..., :1] + 8 * smooth[..., 1:], 0, 255).astype(np.uint8)


@pytest.fixture
def sliding(texture: np.ndarray) -> Callable[..., np.ndarray]:
    """Frames of a camera that slides over the texture: sliding(x) is the view from column x."""

    def view(x: int, width: int = 96, height: int = 64) -> np.ndarray:
        return np.ascontiguousarray(texture[:height, x : x + width])

    return view


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Writes frames to a video file, optionally with a sound track whose loudness is a staircase over time."""

    def make(
        frames: list[np.ndarray],
        name: str = "in.mp4",
        *,
        rate: Fraction | int = 10,
        times: list[Fraction] | None = None,
        codec: str = "libx264",
        sound: str | None = None,
        pixel_format: str = "yuv420p",
        rotation: int = 0,
        aspect: Fraction | None = None,
        tags: dict[str, int] | None = None,
    ) -> Path:
        import av

        path = tmp_path / name
        with av.open(str(path), "w") as container:
            video = container.add_stream(codec, rate=rate, options={"crf": "5"} if codec == "libx264" else {})
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = pixel_format
            # For encoders without crf.
            video.codec_context.bit_rate = 4_000_000 if codec == "mpeg4" else 0
            clock = Fraction(1, 1000) if times else 1 / Fraction(rate)
            video.codec_context.time_base = clock
            if aspect:
                video.codec_context.sample_aspect_ratio = aspect
            for key, value in (tags or {}).items():
                setattr(video.codec_context, key, value)
            if rotation:
                video.set_display_rotation(rotation)
            audio = container.add_stream(sound, rate=SOUND_RATE, layout="mono") if sound else None
            packets = []
            for index, rgb in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                frame.pts = round(times[index] / clock) if times else index
                frame.time_base = clock
                packets += video.encode(frame.reformat(format=pixel_format, interpolation=EXACT_CONVERSION))
            packets += video.encode(None)
            if audio is not None:
                packets += _encoded_sound(audio, len(frames) / Fraction(rate))
            container.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
        return path

    return make


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like the public file of Inception-v3 for FID, with random values."""
    import torch

    from vfi.evaluation.sfibench.inception import Inception

    torch.manual_seed(0)
    state = {k: v for k, v in Inception().state_dict().items() if not k.endswith("num_batches_tracked")}
    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    torch.save({**state, "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}, path)
    return path


def _encoded_sound(audio, seconds: Fraction) -> list:
    """Loudness 0.1, 0.2, 0.3 ... of full scale, a step every tenth of a second."""
    import av

    count = int(seconds * SOUND_RATE)
    index = np.arange(count)
    steps = 0.05 * (index // (SOUND_RATE // 10) % 16 + 1)
    samples = (np.sin(2 * np.pi * 500 * index / SOUND_RATE) * steps * 32767).astype(np.int16)
    resampler = av.AudioResampler(audio.codec_context.format, audio.codec_context.layout, SOUND_RATE)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = SOUND_RATE, 0
    frame.time_base = Fraction(1, SOUND_RATE)
    parts = [*resampler.resample(frame), *resampler.resample(None), None]
    return [packet for part in parts for packet in audio.encode(part)]


@pytest.fixture
def slide(sliding):
    """Eight frames of a slide, four pixels per frame."""
    return [sliding(4 * i) for i in range(8)]


@pytest.fixture
def film(make_video, slide):
    """The slide as a video with sound."""
    return make_video(slide, sound="aac")


@pytest.fixture
def library(make_video, sliding, tmp_path):
    """Videos that slide at different speeds, and others that no rule lets pass."""
    for name in ("videos/deep", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    make_video([sliding(i // 2) for i in range(12)], "videos/slow.mp4")
    make_video([sliding(i) for i in range(13)], "videos/deep/fast.mkv")
    make_video([sliding(0)] * 9, "videos/still.mp4")
    make_video([sliding(i) for i in range(8)], "videos/short.mp4")
    make_video([sliding(i) for i in range(37)], "videos/long.mp4")
    make_video([sliding(i) for i in range(12)], "videos/quick.mp4", rate=60)
    (tmp_path / "videos/broken.mp4").write_bytes(b"no video" * 99)
    (tmp_path / "videos/notes.txt").write_text("nothing")
    (tmp_path / "videos/slow.txt").write_text("A camera\n  slides slowly.\n")
    return tmp_path
