"""What a run would read and write, and about how large it would be: from parts of the video that are encoded for it."""

import io
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import islice, pairwise

import numpy as np

from vfi.commands import probe, video_output
from vfi.commands.program import in_one_line, note, say
from vfi.commands.video_plan import Plan, VideoJob
from vfi.video.av_common import STREAM
from vfi.video.encoder import Encoder
from vfi.video.inputs import Reader
from vfi.video.reader import VideoReader
from vfi.video.writer import VideoWriter, close_unfinished, open_output

# Shares of the video at which a sample begins, frames of each, and frames from a keyframe to the next in the output.
_PLACES, _FRAMES, _GROUP = (0.1, 0.5, 0.9), 6, 250
_STREAMS = ("picture", "sound", "subtitles", "timecode", "chapters", "attachments", "covers", "other_videos")


def say_streams(reader: Reader) -> None:
    """What there is in the input."""
    if isinstance(reader, VideoReader):
        known = probe.described(reader)
        for line in probe.told({name: known[name] for name in _STREAMS}):
            say(f"  {in_one_line(line)}")


def say_output(job: VideoJob, reader: Reader, plan: Plan, count: int | None, again: Callable[[], Reader]) -> None:
    """How the output would be encoded, what would be lost, and about how large it would be.

    count: of its frames. again: opens the input anew.
    """
    trial = video_output.say_what_travels(job, reader, plan)
    say(f"  encoded by {trial.settings}")
    if count is None or job.source == STREAM:
        return
    duration = reader.info.duration or Fraction(0)
    begin, end = job.start or Fraction(0), min(duration, job.end or duration)
    copies = max(1, round(plan.clock.rate * job.slow_motion / reader.rate))
    samples = []
    for place in _PLACES:
        with closing(again()) as sampled:
            frames = [frame.rgb for frame in islice(sampled.frames(begin + (end - begin) * Fraction(place)), _FRAMES)]
        if len(frames) > 1:
            samples.append(_encoded(job, trial, list(_between(frames, copies))))
    if samples:
        first, later, seconds = (float(np.mean(values)) for values in zip(*samples))
        size = round(count * later + count / _GROUP * first)
        say(f"  about {in_bytes(size)} of pictures, {seconds:.3f} seconds of the encoder per frame")
        if size > (left := shutil.disk_usage(job.output.absolute().parent).free):
            note(f"the disk has only {in_bytes(left)} left")


def _between(frames: Sequence[np.ndarray], copies: int) -> Iterator[np.ndarray]:
    """Means stand in for frames between two."""
    for first, second in pairwise(frames):
        for number in range(copies):
            mean = first + (second.astype(np.float32) - first) * (number / copies)
            yield mean.round().astype(first.dtype)


def _encoded(job: VideoJob, trial: VideoWriter, frames: Sequence[np.ndarray]) -> tuple[int, float, float]:
    """Bytes of the first frame and of each later one, and seconds per frame."""
    container = open_output(job.output, io.BytesIO())
    try:
        encoder, begun = Encoder(container, job.output, trial.picture, job.encoding), time.monotonic()
        timed = [(rgb, number / trial.picture.rate) for number, rgb in enumerate(frames)]
        packets = [packet.size for rgb, at in timed for packet in encoder.encode(rgb, at)]
        packets += [packet.size for packet in encoder.flush()]
        each = (time.monotonic() - begun) / len(frames)
    finally:
        close_unfinished(container)
    return packets[0], sum(packets[1:]) / max(1, len(packets) - 1), each


def in_bytes(size: int) -> str:
    """In words, with two digits at least."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= 10 * unit:
            return f"{size / unit:.0f} {name}"
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
