"""A video in, a smoother or slower one out; or two images in, a video out."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import numpy as np

from vfi.commands import interpolate_images
from vfi.commands.program import note
from vfi.commands.video_frames import Renderer
from vfi.errors import UserError, require
from vfi.files.atomic import check_target
from vfi.files.images import is_image_name, to_array, to_tensor, write_image
from vfi.models.interpolator import Interpolator, interpolate_many
from vfi.video.reader import TimedFrame, VideoInfo, VideoReader
from vfi.video.timeline import Listed, Multiplied, Regular, Timeline
from vfi.video.writer import Encoding, Picture, VideoWriter

_NO_TIME = "none of the times lies within the video"


@dataclass(frozen=True)
class VideoJob:
    source: Path
    output: Path
    factor: int | None = None
    fps: Fraction | None = None
    times: list[Fraction] | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    slow_motion: Fraction = Fraction(1)
    scene_cuts: bool = True
    overwrite: bool = False
    quiet: bool = False
    encoding: Encoding = field(default_factory=Encoding)


@dataclass(frozen=True)
class MorphJob:
    first: Path
    second: Path
    output: Path
    times: tuple[float, ...]
    fps: Fraction
    overwrite: bool = False
    encoding: Encoding = field(default_factory=Encoding)


def run(job: VideoJob, model: Interpolator, device: str) -> None:
    """Interpolates a video into a video, or into numbered images."""
    check_job(job)
    to_images = is_image_name(job.output)
    if not to_images:
        check_target(job.output, overwrite=job.overwrite, inputs=(job.source,))
    with closing(VideoReader(job.source)) as reader:
        head, rest = _at_least_two(reader, job)
        origin = head[0].time
        timeline = choose_timeline(job, reader.info, origin)
        renderer = Renderer(model, device, timeline, scene_cuts=job.scene_cuts)
        rendered = renderer.render(chain(head, rest))
        rendered = _with_progress(rendered, _expected(job, timeline, reader.info, origin), job)
        if to_images:
            written, name = _write_images(rendered, job)
        else:
            written, name = _write_video(rendered, job, reader, origin), str(job.output)
        if reader.damaged:
            note(f"{reader.damaged} damaged packets of {job.source} were left out")
    distinct = len(set(job.times or ()))
    if job.times and distinct < len(job.times):
        note(f"of the {len(job.times)} times {distinct} differ")
    if job.times and written != distinct:
        note(f"only {written} of the {distinct} times lie within the video")
    print(
        f"wrote {name}: {written} frames ({renderer.interpolated} interpolated, {renderer.repeated} repeated; "
        f"{renderer.cuts} scene cuts)"
    )


def run_morph(job: MorphJob, model: Interpolator, device: str) -> None:
    """Two images into a video that goes from the one to the other."""
    check_target(job.output, overwrite=job.overwrite, inputs=(job.first, job.second))
    image0, image1 = interpolate_images.read_pair(job.first, job.second)
    frame0, frame1 = to_tensor(image0.rgb, device), to_tensor(image1.rgb, device)
    height, width = image0.rgb.shape[:2]
    writer = VideoWriter(job.output, Picture(width, height, job.fps, 1 / job.fps), job.encoding)
    try:
        for notice in writer.notices:
            note(notice)
        results = interpolate_many(model, frame0, frame1, [0.0, *job.times, 1.0])
        for index, result in enumerate(results):
            writer.write(to_array(result), index / job.fps)
        writer.finish()
    finally:
        writer.discard()
    print(f"wrote {job.output}: {len(results)} frames at {float(job.fps):g} frames per second")


def check_job(job: VideoJob) -> None:
    """Refuses numbers that make no sense together."""
    if job.factor is not None and not 1 <= job.factor <= 1000:
        raise UserError(f"--factor must be from 1 to 1000, got {job.factor}")
    if job.times and (job.start is not None or job.end is not None):
        raise UserError("--times are positions in the whole video; leave out --start and --end")
    if job.start is not None and job.end is not None and job.end <= job.start:
        raise UserError(f"--end ({float(job.end):g} s) must be after --start ({float(job.start):g} s)")


def choose_timeline(job: VideoJob, info: VideoInfo, origin: Fraction) -> Timeline:
    """The times that the options ask for; slow motion keeps the source's frame rate unless told otherwise."""
    if job.times:
        return Listed(sorted(set(job.times)))
    if job.fps:
        return Regular(job.fps * job.slow_motion, origin)
    if job.factor is None and job.slow_motion.denominator > 1:
        return Regular(info.rate * job.slow_motion, origin)
    return Multiplied(job.factor or (2 if job.slow_motion == 1 else job.slow_motion.numerator))


def _write_video(
    rendered: Iterable[tuple[np.ndarray, Fraction]], job: VideoJob, reader: VideoReader, origin: Fraction
) -> int:
    """Writes the pictures, and the sound unless the speed changes; returns the number of frames."""
    writer = VideoWriter(job.output, output_picture(job, reader.info), job.encoding)
    try:
        if job.slow_motion != 1 or job.times:
            note("the sound, if any, is left out, because the speed changes")
        else:
            end = None if job.end is None else reader.origin + job.end
            writer.add_audio(job.source, reader.origin + origin, end)
        if reader.info.bits > 8:
            note(f"the {reader.info.bits} bits per sample of {job.source} become 8")
        if reader.has_subtitles:
            note("the subtitles are left out")
        for notice in writer.notices:
            note(notice)
        for rgb, time in rendered:
            writer.write(rgb, (time - origin) * job.slow_motion)
        if writer.frames == 0:
            raise UserError(_NO_TIME)
        writer.finish()
    except KeyboardInterrupt:
        if writer.interrupted():
            note(f"{job.output} holds the first {float(writer.seconds):.2f} seconds")
        raise
    finally:
        writer.discard()
    return writer.frames


def _write_images(rendered: Iterable[tuple[np.ndarray, Fraction]], job: VideoJob) -> tuple[int, str]:
    """Writes the pictures to numbered files; returns how many, and the first and the last name."""
    written: list[Path] = []
    for rgb, _ in rendered:
        target = interpolate_images.numbered(job.output, len(written) + 1, digits=5)
        check_target(target, overwrite=job.overwrite, inputs=(job.source,))
        write_image(target, rgb)
        written.append(target)
    if not written:
        raise UserError(_NO_TIME)
    return len(written), f"{written[0]}" + (f" to {written[-1].name}" if len(written) > 1 else "")


def output_picture(job: VideoJob, info: VideoInfo) -> Picture:
    """Size, rate and clock of the output: a clock that holds every rendered time exactly."""
    if job.fps:
        rate, clock = job.fps, 1 / job.fps
    elif job.factor is None and job.slow_motion.denominator > 1:
        rate, clock = info.rate, 1 / info.rate
    else:
        factor = job.factor or (2 if job.slow_motion == 1 else job.slow_motion.numerator)
        rate = info.rate * factor / job.slow_motion
        clock = info.time_base * job.slow_motion / factor
        # Finer by a whole number, for the rest of an interval that --end cuts.
        clock /= max(1, round(clock * 10_000))
    # AVI knows constant rates only; other files want a clock of at most 32 bits.
    if job.output.suffix.lower() == ".avi" or clock.denominator >= 2**31 or clock.numerator >= 2**31:
        clock = 1 / rate
    return Picture(info.width, info.height, rate, clock, info.pixel_aspect, info.colour)


def _at_least_two(reader: VideoReader, job: VideoJob) -> tuple[list[TimedFrame], Iterator[TimedFrame]]:
    """The first two frames asked for, and the rest; an error without two, for nothing lies between them then."""
    frames = reader.frames(job.start, job.end)
    head = list(islice(frames, 2))
    if len(head) < 2:
        part = " between --start and --end" if job.start is not None or job.end is not None else ""
        raise UserError(f"{job.source} has {'only one frame' if head else 'no frame'}{part}; two are needed")
    return head, frames


def _expected(job: VideoJob, timeline: Timeline, info: VideoInfo, origin: Fraction) -> int | None:
    """About how many frames will be written; None where the source does not tell its length."""
    if info.duration is None and not job.times:
        return None
    duration = info.duration or Fraction(0)
    seconds = max(Fraction(0), min(duration, job.end or duration) - origin)
    return timeline.count(seconds * info.rate, seconds)


def _with_progress(
    rendered: Iterator[tuple[np.ndarray, Fraction]], expected: int | None, job: VideoJob
) -> Iterator[tuple[np.ndarray, Fraction]]:
    """Shows frames done, frames per second and the time left, on a terminal."""
    tqdm = require("tqdm").tqdm
    return iter(tqdm(rendered, total=expected, unit="frame", desc=job.output.name, disable=True if job.quiet else None))
