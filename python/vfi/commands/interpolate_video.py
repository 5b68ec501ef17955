"""A video in, a smoother or slower one out; or two images in, a video out."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

from vfi.commands import dry_run, interpolate_images, progress, video_output
from vfi.commands.program import note
from vfi.commands.video_frames import Rendered, Renderer
from vfi.commands.video_plan import Plan, VideoJob, check_cuts, check_job, output_seconds, plan_for, stray_cuts
from vfi.commands.workers import Workers
from vfi.errors import Incomplete, UserError
from vfi.files.atomic import check_target
from vfi.files.images import Image, as_kind, for_video, losses, losses_in_video, seen_through, write_image
from vfi.models.interpolator import Interpolator
from vfi.models.pictures import Pictures
from vfi.video.av_common import STREAM, counted, name_of
from vfi.video.containers import clock_for, in_words, is_y4m
from vfi.video.duplicates import Distinct
from vfi.video.encoder import Picture
from vfi.video.encodings import Encoding, encoder_asked
from vfi.video.inputs import Reader, opened
from vfi.video.interlaced import Deinterlace
from vfi.video.overlap import Ahead
from vfi.video.reader import TimedFrame, VideoInfo
from vfi.video.scene_cuts import SceneCuts
from vfi.video.segments import Work, check_left
from vfi.video.sequence import SequenceReader, Stills, into_images, kind_of, pixels_of
from vfi.video.writer import VideoWriter
from vfi.video.y4m import Y4mWriter, plain_file

# Seconds of pictures before those that a resumed run begins with: what scene cuts are told by.
_LOOKED_BACK = 2
_LONG = 20  # seconds of a frame that is not made again to see how long one takes


@dataclass(frozen=True)
class MorphJob:
    first: Path
    second: Path
    output: Path
    times: tuple[float, ...]
    fps: Fraction
    overwrite: bool = False
    encoding: Encoding = field(default_factory=Encoding)


def run(job: VideoJob, models: Sequence[tuple[Interpolator, str]]) -> None:
    """Interpolates a video into a video, into numbered images, or for the next program in a pipe.

    models: the model, on each device that is to work on it.
    """
    check_job(job)
    to_images = into_images(job.output)
    to_file = not to_images and not is_y4m(job.output)
    if not to_images and job.output != STREAM:
        check_target(job.output, overwrite=job.overwrite, inputs=(job.source,))
    with ExitStack() as stack:
        reader = stack.enter_context(closing(_opened(job, to_file=to_file)))
        work: Work | None = None
        in_file = to_file and not job.dry_run
        if in_file and video_output.in_segments(job, output_seconds(job, reader.info)):
            work = stack.enter_context(video_output.work_of(job))
        elif in_file:
            check_left(job.output, anew=job.overwrite)
        distinct = Distinct()
        head, rest = _at_least_two(reader, job, work, distinct)
        plan = plan_for(job, reader, head[0].time, to_images)
        check_cuts(job, reader.info)
        for loss in reader.info.losses:
            note(f"of {name_of(job.source)}, {loss}")
        workers = stack.enter_context(closing(Workers(models)))
        renderer = Renderer(workers, plan.timeline, scene_cuts=job.scene_cuts, step=1 / reader.rate, lead=plan.lead)
        if job.dry_run:
            _say_plan(job, reader, plan, workers, head)
            return
        if work is not None and work.segments:
            renderer.go_on(work.segments[-1], work.since)
        ahead = stack.enter_context(closing(Ahead(rest)))
        rendered = renderer.render(chain(head, ahead))
        rendered = progress.shown(rendered, _expected(job, plan, reader.info), job.output.name, job.progress)
        name = str(job.output)
        if to_images:
            (written, name), encoder = _write_images(rendered, job), ""
        elif not to_file:
            file = stack.enter_context(plain_file(job.output))
            written, name, encoder = video_output.write_plainly(rendered, job, reader, plan, file), file.called, ""
        elif work is not None:
            written, encoder = video_output.write_in_segments(rendered, job, reader, plan, renderer, work)
        else:
            written, encoder = video_output.write_at_once(rendered, job, reader, plan, ahead.close)
        _say_reading(job, reader, plan, renderer, distinct)
        missing = reader.missing(whole=job.end is None and not job.times)
        _report(job, reader, renderer, (written, name, encoder))
    if missing:
        raise Incomplete(f"{name_of(job.source)} is incomplete, the result with it: {'; '.join(missing)}")


def _say_reading(job: VideoJob, reader: Reader, plan: Plan, renderer: Renderer, distinct: Distinct) -> None:
    """Notes about the source, once it has been read."""
    name = name_of(job.source)
    if repairs := reader.repairs():
        note(f"times of {name} were repaired: {', '.join(repairs)}")
    if plan.constant and not reader.info.even and reader.uneven:
        note(f"{counted(reader.uneven, 'uneven interval')} of {name} became even")
    if distinct.dropped:
        note(f"{counted(distinct.dropped, 'frame')} of {name} repeat others and were left out")
    for fault in reader.faults() if isinstance(reader, Stills) else ():
        note(f"of {name}, {fault}")
    if stray := stray_cuts(job, renderer.met):
        note(stray)


def _say_plan(job: VideoJob, reader: Reader, plan: Plan, workers: Workers, head: list[TimedFrame]) -> None:
    """What would be done, without doing it; one frame is made, to see how long it takes."""
    info = reader.info
    each = _seconds_of_one(workers, head)
    count = _expected(job, plan, info)
    print(f"from {name_of(job.source)}: {info.width}x{info.height}, {float(info.rate):g} frames per second")
    dry_run.say_streams(reader)
    print(f"to {job.output}: {float(plan.clock.rate):g} frames per second, about {count or '?'} frames")
    if not into_images(job.output) and not is_y4m(job.output):
        dry_run.say_output(job, reader, plan, count, lambda: _opened(job, to_file=False))
    if count is not None:
        whole = timedelta(seconds=round(each * count / len(workers)))
        print(f"about {whole} at {each:.2f} seconds per frame, without decoding and encoding")


def _seconds_of_one(workers: Workers, head: list[TimedFrame]) -> float:
    """Of a frame between two; of the second one, since the first one loads libraries, unless it takes long."""
    took = 0.0
    for _ in range(2):
        if took < _LONG:
            begun = time.monotonic()
            list(workers.between(head[0].rgb, head[1].rgb, [0.5]))
            took = time.monotonic() - begun
    return took


def _opened(job: VideoJob, *, to_file: bool) -> Reader:
    kind = kind_of(job.encoding.pixels)[0] if job.images else None
    return opened(
        job.source, job.images, target=job.output, kind=kind, rate=job.input_fps, sound=to_file,
        trusted=job.trust_input, deinterlace=job.deinterlace,
    )  # fmt: skip


def _report(job: VideoJob, reader: Reader, renderer: Renderer, done: tuple[int, str, str]) -> None:
    """Says what has been done: how many frames, under which name, by which encoder."""
    written, name, encoder = done
    distinct = len(set(job.times or ()))
    if job.times and distinct < len(job.times):
        note(f"of the {len(job.times)} times {distinct} differ")
    if job.times and written != distinct:
        note(f"only {written} of the {distinct} times lie within the video")
    frames = reader.decoded if job.start is None and job.end is None else reader.given
    left_out = f"; {counted(renderer.unseen, 'frame')} left out" if renderer.unseen and not job.times else ""
    if encoder:
        print(f"encoded by {encoder}")
    made = f"{renderer.interpolated} interpolated, {renderer.repeated} repeated; {counted(renderer.cuts, 'scene cut')}"
    source = f"{counted(frames, 'frame')} of {name_of(Path(job.source.name))}"
    print(f"wrote {name}: {counted(written, 'frame')} ({made}), from {source}{left_out}")


def list_cuts(source: Path, images: Sequence[Path], rate: Fraction, deinterlace: Deinterlace, *, trusted: bool) -> None:
    """Prints the times at which scenes begin, in seconds, each in a line."""
    with closing(opened(source, images, rate=rate, trusted=trusted, deinterlace=deinterlace)) as reader:
        for frame, begins in SceneCuts().marked(reader.frames(), lambda frame: frame.rgb):
            if begins:
                print(f"{float(frame.time):.6f}")


def run_morph(job: MorphJob, model: Interpolator, device: str) -> None:
    """Two images into a video that goes from the one to the other."""
    check_target(job.output, overwrite=job.overwrite, inputs=(job.first, job.second))
    image0, image1 = interpolate_images.read_pair(job.first, job.second)
    first, second = (for_video(image.pixels) for image in (image0, image1))
    height, width = first.shape[:2]
    alpha, pixels = seen_through(first) or seen_through(second), pixels_of(first)
    encoder = encoder_asked(job.encoding, job.output, job.fps, "", pixels if alpha else None)
    clock = clock_for(job.output, encoder, job.fps)
    picture = Picture(
        width, height, clock.rate, clock.tick, least_ticks=clock.least, pixels=pixels, alpha=alpha
    )  # fmt: skip
    made = chain([first], Pictures(model, device).between(first, second, job.times), [second])
    lost = [loss for image in (image0, image1) for loss in (*image.lost, *losses_in_video(image.pixels))]
    rate, held = in_words(job.fps, clock.rate)
    lost += [f"{rate} frames per second become {held}"] if clock.rate != job.fps else []
    with ExitStack() as stack:
        writer: VideoWriter | Y4mWriter
        if is_y4m(job.output):
            file = stack.enter_context(plain_file(job.output))
            name, writer = file.called, Y4mWriter(file, picture)
            lost += ["the alpha channel is left out: YUV4MPEG2 holds none"] if alpha else []
        else:
            name, writer = str(job.output), VideoWriter(job.output, picture, job.encoding)
            stack.callback(writer.discard)
            lost += writer.notices
        for notice in dict.fromkeys(lost):
            note(notice)
        for index, result in enumerate(made):
            writer.write(result, index / clock.rate)
        if isinstance(writer, VideoWriter):
            writer.finish()
        print(f"wrote {name}: {writer.frames} frames at {held} frames per second")
    interpolate_images.check_whole((job.first, image0), (job.second, image1))


def _write_images(rendered: Iterable[Rendered], job: VideoJob) -> tuple[int, str]:
    """Writes the pictures to numbered files; returns how many, and the first and the last name."""
    written: list[Path] = []
    kind, name = kind_of(job.encoding.pixels)
    for rgb, _, like in rendered:
        target = interpolate_images.numbered(job.output, len(written) + 1, digits=5)
        check_target(target, overwrite=job.overwrite, inputs=(job.source,))
        if not written:
            for loss in losses(rgb, job.output):
                note(f"of {name_of(job.source)}, {loss}")
        image = like.own if isinstance(like.own, Image) else None
        write_image(target, rgb if kind is None else as_kind(rgb, kind), like=image, own=rgb is like.rgb, kind=name)
        written.append(target)
    if not written:
        raise UserError(video_output.NO_TIME)
    return len(written), f"{written[0]}" + (f" to {written[-1].name}" if len(written) > 1 else "")


def _at_least_two(
    reader: Reader, job: VideoJob, work: Work | None, distinct: Distinct
) -> tuple[list[TimedFrame], Iterator[TimedFrame]]:
    """The first two frames asked for, and the rest; an error without two, for nothing lies between them then."""
    since = work.since if work is not None else None
    frames = reader.frames(job.start, job.end, None if since is None else since - _LOOKED_BACK, next_too=True)
    frames = distinct.frames(frames) if job.dedup else frames
    head = list(islice(frames, 2))
    if len(head) < 2:
        part = " between --start and --end" if job.start is not None or job.end is not None else ""
        said = f"{name_of(job.source)} has {'only one frame' if head else 'no frame'}{part}; two are needed"
        causes = list(reader.unread.values()) if isinstance(reader, SequenceReader) else []
        raise UserError(": ".join([said, *causes[:1]]))
    return head, frames


def _expected(job: VideoJob, plan: Plan, info: VideoInfo) -> int | None:
    """About how many frames will be written; None where the source does not tell its length."""
    if info.duration is None and not job.times:
        return None
    duration = info.duration or Fraction(0)
    seconds = max(Fraction(0), min(duration, job.end or duration) - plan.origin)
    return plan.timeline.count(seconds * info.rate, seconds)
