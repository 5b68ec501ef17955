"""Runs of `vfi interpolate` on videos, and what came out of them."""

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from vfi.commands.main import main
from vfi.video.av_common import EXACT_CONVERSION

TENTH = Fraction(1, 10)


def means(model: object, frame0: torch.Tensor, frame1: torch.Tensor, times: Sequence[float]) -> list[torch.Tensor]:
    """In place of a model's interpolate_many."""
    return [torch.lerp(frame0, frame1, float(t)) for t in times]


def run(*arguments: object) -> int:
    return main(["interpolate", "--quiet", *map(str, arguments)])


@contextmanager
def standard_input(data: bytes) -> Iterator[None]:
    """Inside, the process's standard input gives these bytes, which nobody can go back in."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        before = os.dup(0)
        os.dup2(file.fileno(), 0)
        try:
            yield
        finally:
            os.dup2(before, 0)
            os.close(before)


def refused(capsys, *arguments: object) -> str:
    assert run(*arguments) == 2
    message = capsys.readouterr().err.strip()
    assert "Traceback" not in message
    return message.splitlines()[-1]


def read(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    """Times and pictures of a video."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        pictures = [frame.to_ndarray(format="rgb24", interpolation=EXACT_CONVERSION) for frame in frames]
        return [frame.pts * frame.time_base for frame in frames], pictures


def sound(path: Path) -> tuple[float, np.ndarray, str]:
    """Start, samples and codec of the sound."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        resampler = av.AudioResampler("flt", "mono", 8000)
        start = float(frames[0].pts * frames[0].time_base)
        parts = [part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)]
        return start, np.concatenate(parts), container.streams.audio[0].codec_context.codec.canonical_name


def loudness(samples: np.ndarray, start: float, time: float) -> float:
    """Mean loudness, in steps of the test's staircase, over the tenth of a second around `time`."""
    first = round((time - start - 0.03) * 8000)
    return float(np.sqrt(2 * np.mean(samples[max(first, 0) : first + 480] ** 2))) / 0.05


def error(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference of brightness (videos keep a quarter of the colours), borders aside."""
    weights = np.array([0.299, 0.587, 0.114])
    return float(np.abs((first.astype(float) - second)[8:-8, 16:-16] @ weights).mean())


def readers() -> list[threading.Thread]:
    """Threads that read ahead, or write behind."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("vfi ")]
