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
from vfi.commands.video_plan import Plan, VideoJob, check_job, plan_for
from vfi.errors import Incomplete, UserError, require
from vfi.files.atomic import check_target
from vfi.files.images import is_image_name, to_array, to_tensor, write_image
from vfi.models.interpolator import Interpolator, interpolate_many
from vfi.video.av_common import counted
from vfi.video.containers import clock_for
from vfi.video.extras import Span
from vfi.video.reader import TimedFrame, VideoInfo, VideoReader
from vfi.video.sound_tracks import Sound
from vfi.video.writer import Encoding, Picture, VideoWriter

_NO_TIME = "none of the times lies within the video"


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
    with closing(VideoReader(job.source, sound=not to_images, trusted=job.trust_input)) as reader:
        head, rest = _at_least_two(reader, job)
        plan = plan_for(job, reader, head[0].time, to_images)
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
        missing = reader.missing(whole=job.end is None and not job.times)
    distinct = len(set(job.times or ()))
    if job.times and distinct < len(job.times):
        note(f"of the {len(job.times)} times {distinct} differ")
    if job.times and written != distinct:
        note(f"only {written} of the {distinct} times lie within the video")
    frames = reader.decoded if job.start is None and job.end is None else reader.given
    left_out = f"; {counted(renderer.unseen, 'frame')} left out" if renderer.unseen and not job.times else ""
    print(
        f"wrote {name}: {written} frames ({renderer.interpolated} interpolated, {renderer.repeated} repeated; "
        f"{renderer.cuts} scene cuts), from {counted(frames, 'frame')} of {job.source.name}{left_out}"
    )
    if missing:
        raise Incomplete(f"{job.source} is incomplete, the result with it: {'; '.join(missing)}")


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


def _write_video(
    rendered: Iterable[tuple[np.ndarray, Fraction]], job: VideoJob, reader: VideoReader, plan: Plan
) -> int:
    """Writes the pictures, and the sound unless the speed changes; returns the number of frames."""
    info, clock = reader.info, plan.clock
    picture = Picture(
        info.width, info.height, clock.rate, clock.tick, info.pixel_aspect, info.colour, least_ticks=clock.least
    )
    writer = VideoWriter(job.output, picture, job.encoding)
    try:
        _carry_over(writer, job, reader, plan)
        for loss in info.losses:
            note(f"of {job.source}, {loss}")
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


def _carry_over(writer: VideoWriter, job: VideoJob, reader: VideoReader, plan: Plan) -> None:
    if not reader.demuxer.audio or not job.sound.keep:
        sound = Sound(keep=False)
    elif job.slow_motion != 1 or job.times:
        note("the sound is left out, because the speed changes")
        sound = Sound(keep=False)
    else:
        sound = job.sound
    end = None if job.end is None else reader.origin + job.end
    if not job.times:
        writer.carry_over(reader.demuxer, Span(reader.origin + plan.origin, end, job.slow_motion), sound)


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


def _expected(job: VideoJob, plan: Plan, info: VideoInfo) -> int | None:
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
