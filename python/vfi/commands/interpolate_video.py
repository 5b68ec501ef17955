"""A video in, a smoother or slower one out; or two images in, a video out."""

import math
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
from vfi.errors import Incomplete, UserError, require
from vfi.files.atomic import check_target
from vfi.files.images import is_image_name, to_array, to_tensor, write_image
from vfi.models.interpolator import Interpolator, interpolate_many
from vfi.video.av_common import counted
from vfi.video.containers import Clock, clock_for
from vfi.video.reader import TimedFrame, VideoInfo, VideoReader
from vfi.video.sound_tracks import Sound
from vfi.video.timeline import Listed, Multiplied, Regular, Timeline
from vfi.video.writer import Encoding, Picture, VideoWriter

# Seconds by which sound begins earlier in many files; more than that is kept.
_LEAST_LEAD = Fraction(1, 10)
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
    sound: Sound = field(default_factory=Sound)


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
    with closing(VideoReader(job.source, sound=not to_images)) as reader:
        head, rest = _at_least_two(reader, job)
        plan = _plan(job, reader, head[0].time, to_images)
        renderer = Renderer(
            model, device, plan.timeline, scene_cuts=job.scene_cuts, step=1 / reader.rate, lead=plan.lead
        )
        rendered = renderer.render(chain(head, rest))
        rendered = _with_progress(rendered, _expected(job, plan, reader.info), job)
        if to_images:
            written, name = _write_images(rendered, job)
        else:
            written, name = _write_video(rendered, job, reader, plan), str(job.output)
        if repairs := reader.repairs():
            note(f"times of {job.source} were repaired: {', '.join(repairs)}")
        if plan.constant and not reader.info.even and reader.uneven:
            note(f"{counted(reader.uneven, 'uneven interval')} of {job.source} became even")
        missing = reader.missing() if job.end is None and not job.times else Fraction(0)
    distinct = len(set(job.times or ()))
    if job.times and distinct < len(job.times):
        note(f"of the {len(job.times)} times {distinct} differ")
    if job.times and written != distinct:
        note(f"only {written} of the {distinct} times lie within the video")
    left_out = f"; {counted(renderer.unseen, 'frame')} left out" if renderer.unseen and not job.times else ""
    print(
        f"wrote {name}: {written} frames ({renderer.interpolated} interpolated, {renderer.repeated} repeated; "
        f"{renderer.cuts} scene cuts), from {counted(reader.decoded, 'frame')} of {job.source.name}{left_out}"
    )
    _say_if_incomplete(job, reader, missing)


def _say_if_incomplete(job: VideoJob, reader: VideoReader, missing: Fraction) -> None:
    said = [f"{counted(reader.damaged, 'damaged packet')} of the video left out"] if reader.damaged else []
    if missing:
        said.append(f"it ends {float(missing):.2f} seconds before its time: it was cut off or is damaged")
    if reader.demuxer.failure is not None:
        said.append(f"it could not be read to its end: {reader.demuxer.failure}")
    if said:
        raise Incomplete(f"{job.source} is incomplete, the result with it: {'; '.join(said)}")


def run_morph(job: MorphJob, model: Interpolator, device: str) -> None:
    """Two images into a video that goes from the one to the other."""
    check_target(job.output, overwrite=job.overwrite, inputs=(job.first, job.second))
    image0, image1 = interpolate_images.read_pair(job.first, job.second)
    frame0, frame1 = to_tensor(image0.rgb, device), to_tensor(image1.rgb, device)
    height, width = image0.rgb.shape[:2]
    clock = clock_for(job.output, job.encoding.codec, job.fps)
    picture = Picture(width, height, clock.rate, clock.tick, least_ticks=clock.least)
    writer = VideoWriter(job.output, picture, job.encoding)
    try:
        if clock.rate != job.fps:
            writer.notices.append(f"{float(job.fps):g} frames per second become {float(clock.rate):g}")
        for notice in writer.notices:
            note(notice)
        results = interpolate_many(model, frame0, frame1, [0.0, *job.times, 1.0])
        for index, result in enumerate(results):
            writer.write(to_array(result), index / clock.rate)
        writer.finish()
    finally:
        writer.discard()
    print(f"wrote {job.output}: {len(results)} frames at {float(clock.rate):g} frames per second")


def check_job(job: VideoJob) -> None:
    """Refuses numbers that make no sense together."""
    if job.factor is not None and not 1 <= job.factor <= 1000:
        raise UserError(f"--factor must be from 1 to 1000, got {job.factor}")
    if job.times and (job.start is not None or job.end is not None):
        raise UserError("--times are positions in the whole video; leave out --start and --end")
    if job.start is not None and job.end is not None and job.end <= job.start:
        raise UserError(f"--end ({float(job.end):g} s) must be after --start ({float(job.start):g} s)")


@dataclass(frozen=True)
class _Plan:
    """What will be rendered, and with what clock it is written; settled before the first frame is.

    origin: the time of the first frame written. lead: for how long it is held before, since the sound begins earlier.
    """

    timeline: Timeline
    clock: Clock
    origin: Fraction
    lead: Fraction = Fraction(0)
    constant: bool = False
    notices: tuple[str, ...] = ()


def _plan(job: VideoJob, reader: VideoReader, origin: Fraction, to_images: bool) -> _Plan:
    """Times and clock that the options ask for and the output can hold, the nearest that it can."""
    info, slower = reader.info, job.slow_motion
    timeline, rate = choose_timeline(job, info, origin), output_rate(job, info)
    if to_images:
        return _Plan(timeline, Clock(1 / rate, rate), origin)
    clock = clock_for(job.output, job.encoding.codec, rate)
    kind, notices = f"{job.output.suffix} files", []
    if clock.rate != rate:
        because = "GIF players show no more" if job.output.suffix.lower() == ".gif" else f"{kind} hold no other"
        notices.append(f"{float(rate):g} frames per second become {float(clock.rate):g}: {because}")
    elif clock.constant and not info.even and not job.fps and not job.times:
        notices.append(f"the variable rate becomes constant, {float(rate):g} frames per second: {kind} hold no other")
    constant = not job.times and (clock.constant or clock.rate != rate)
    lead = Fraction(0)
    if slower == 1 and not job.times and not job.start and job.sound.keep:
        lead = _lead(reader)
    if lead:
        notices.append(f"the first frame is held for {float(lead):.2f} seconds: the sound begins so much earlier")
    if constant:
        timeline = Regular(clock.rate * slower, origin - lead)
    return _Plan(timeline, clock, origin - lead, lead, constant, tuple(notices))


def _lead(reader: VideoReader) -> Fraction:
    """By how much the sound begins before the picture, if by more than encoders put there, in whole frames."""
    begins = [queue[0][0] for queue in reader.demuxer.sound.values() if queue]
    lead = reader.origin - min(begins, default=reader.origin)
    return math.ceil(lead * reader.rate) / reader.rate if lead > _LEAST_LEAD else Fraction(0)


def choose_timeline(job: VideoJob, info: VideoInfo, origin: Fraction) -> Timeline:
    """The times that the options ask for; slow motion keeps the source's frame rate unless told otherwise."""
    if job.times:
        return Listed(sorted(set(job.times)))
    if job.fps:
        return Regular(job.fps * job.slow_motion, origin)
    if job.factor is None and job.slow_motion.denominator > 1:
        return Regular(info.rate * job.slow_motion, origin)
    return Multiplied(job.factor or (2 if job.slow_motion == 1 else job.slow_motion.numerator))


def output_rate(job: VideoJob, info: VideoInfo) -> Fraction:
    """Frames per second of most of what the options ask for."""
    if job.fps:
        return job.fps
    if job.factor is None and job.slow_motion.denominator > 1:
        return info.rate
    factor = job.factor or (2 if job.slow_motion == 1 else job.slow_motion.numerator)
    return info.rate * factor / job.slow_motion


def _write_video(
    rendered: Iterable[tuple[np.ndarray, Fraction]], job: VideoJob, reader: VideoReader, plan: _Plan
) -> int:
    """Writes the pictures, and the sound unless the speed changes; returns the number of frames."""
    info, clock = reader.info, plan.clock
    picture = Picture(
        info.width, info.height, clock.rate, clock.tick, info.pixel_aspect, info.colour, least_ticks=clock.least
    )
    writer = VideoWriter(job.output, picture, job.encoding)
    try:
        _add_sound(writer, job, reader, plan)
        if info.bits > 8:
            note(f"the {info.bits} bits per sample of {job.source} become 8")
        if reader.has_subtitles:
            note("the subtitles are left out")
        for notice in (*plan.notices, *writer.notices):
            note(notice)
        for rgb, time in rendered:
            writer.write(rgb, (time - plan.origin) * job.slow_motion)
        if writer.frames == 0:
            raise UserError(_NO_TIME)
        writer.finish()
    except KeyboardInterrupt:
        if writer.interrupted():
            note(f"{job.output} holds the first {float(writer.seconds):.2f} seconds")
        raise
    finally:
        writer.discard()
    for trouble in writer.sound_summary():
        note(trouble)
    return writer.frames


def _add_sound(writer: VideoWriter, job: VideoJob, reader: VideoReader, plan: _Plan) -> None:
    if not reader.demuxer.audio or not job.sound.keep:
        sound = Sound(keep=False)
    elif job.slow_motion != 1 or job.times:
        note("the sound is left out, because the speed changes")
        sound = Sound(keep=False)
    else:
        sound = job.sound
    end = None if job.end is None else reader.origin + job.end
    writer.add_audio(reader.demuxer, reader.origin + plan.origin, end, sound)


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


def _at_least_two(reader: VideoReader, job: VideoJob) -> tuple[list[TimedFrame], Iterator[TimedFrame]]:
    """The first two frames asked for, and the rest; an error without two, for nothing lies between them then."""
    frames = reader.frames(job.start, job.end)
    head = list(islice(frames, 2))
    if len(head) < 2:
        part = " between --start and --end" if job.start is not None or job.end is not None else ""
        raise UserError(f"{job.source} has {'only one frame' if head else 'no frame'}{part}; two are needed")
    return head, frames


def _expected(job: VideoJob, plan: _Plan, info: VideoInfo) -> int | None:
    """About how many frames will be written; None where the source does not tell its length."""
    if info.duration is None and not job.times:
        return None
    duration = info.duration or Fraction(0)
    seconds = max(Fraction(0), min(duration, job.end or duration) - plan.origin)
    return plan.timeline.count(seconds * info.rate, seconds)


def _with_progress(
    rendered: Iterator[tuple[np.ndarray, Fraction]], expected: int | None, job: VideoJob
) -> Iterator[tuple[np.ndarray, Fraction]]:
    """Shows frames done, frames per second and the time left, on a terminal."""
    tqdm = require("tqdm").tqdm
    return iter(tqdm(rendered, total=expected, unit="frame", desc=job.output.name, disable=True if job.quiet else None))
