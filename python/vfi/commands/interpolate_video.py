"""A video in, a smoother or slower one out; or two images in, a video out."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fractions import Fraction
from itertools import chain
from pathlib import Path

from vfi.commands import dry_run, interpolate_images, video_output
from vfi.commands.program import has_written, note, say
from vfi.commands.video_frames import Rendered
from vfi.commands.video_plan import VideoJob, check_job
from vfi.commands.video_rendering import Rendering, goal_of, opened_for, planned
from vfi.commands.workers import Workers
from vfi.commands.written import Written
from vfi.errors import ArgumentError, Incomplete, UserError
from vfi.files.atomic import check_target
from vfi.files.images import Image, as_kind, for_video, losses, losses_in_video, seen_through, write_image
from vfi.files.places import is_remote, is_there, put
from vfi.files.temporary import own_folder
from vfi.models.interpolator import Interpolator
from vfi.models.pictures import Pictures
from vfi.video.av_common import STREAM, counted, name_of
from vfi.video.containers import clock_for, in_words, is_y4m
from vfi.video.encoder import Picture
from vfi.video.encodings import Encoding, encoder_asked
from vfi.video.inputs import opened
from vfi.video.interlaced import Deinterlace
from vfi.video.overlap import Ahead
from vfi.video.reader import TimedFrame
from vfi.video.scene_cuts import SceneCuts
from vfi.video.sequence import into_images, kind_of, pixels_of
from vfi.video.writer import VideoWriter
from vfi.video.y4m import Y4mWriter, plain_file

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
    goal = goal_of(job)
    if is_remote(job.output) or (goal != "images" and job.output != STREAM):
        check_output(job.output, overwrite=job.overwrite, inputs=(job.source,))
    with locally(job) as job, planned(job, models, goal) as video:
        if job.dry_run:
            _say_plan(video)
            return
        with ExitStack() as stack:  # a pipe's prints go elsewhere until all is said
            rendered, ahead = stack.enter_context(video.pictures())
            done = _written(video, rendered, ahead, stack)
            missing = video.missing()
            _report(video, done)
    if missing:
        raise Incomplete(missing)


def check_output(output: Path, *, overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """As `check_target`, also of an address."""
    if not is_remote(output):
        check_target(output, overwrite=overwrite, inputs=tuple(path for path in inputs if not is_remote(path)))
    elif into_images(output) or is_y4m(output):
        raise UserError(f"expected a video as output at an address, got {output}")
    elif is_there(output) and not overwrite:
        raise ArgumentError(f"{output} exists already; add `overwrite` to replace it")


@contextmanager
def locally(job: VideoJob) -> Iterator[VideoJob]:
    """The job with an output on this machine, in place of one elsewhere."""
    if not is_remote(job.output):
        yield job
        return
    with own_folder() as folder:
        yield replace(job, output=folder / job.output.name, address=job.output)


def _written(
    video: Rendering, rendered: Iterator[Rendered], ahead: Ahead[TimedFrame], stack: ExitStack
) -> tuple[int, str, str, tuple[Path, ...]]:
    """Writes them; returns how many, under which name, by which encoder, and the files."""
    job, reader, plan = video.job, video.reader, video.plan
    if video.goal == "images":
        paths = _write_images(rendered, job)
        return len(paths), f"{paths[0]}" + (f" to {paths[-1].name}" if len(paths) > 1 else ""), "", paths
    if video.goal == "pipe":
        file = stack.enter_context(plain_file(job.output))
        written = video_output.write_plainly(rendered, job, reader, plan, file)
        return written, file.called, "", () if job.output == STREAM else (job.output,)
    if video.work is not None:
        written, encoder = video_output.write_in_segments(rendered, job, reader, plan, video.renderer, video.work)
    else:
        written, encoder = video_output.write_at_once(rendered, job, reader, plan, ahead.close)
    if job.address is not None:
        put(job.output, job.address)
    return written, str(job.named), encoder, (job.named,)


def _say_plan(video: Rendering) -> None:
    """What would be done, without doing it; one frame is made, to see how long it takes."""
    job, reader, plan = video.job, video.reader, video.plan
    info = reader.info
    each = _seconds_of_one(video.workers, video.head)
    count = video.expected
    say(f"from {name_of(job.source)}: {info.width}x{info.height}, {float(info.rate):g} frames per second")
    dry_run.say_streams(reader)
    say(f"to {job.named}: {float(plan.clock.rate):g} frames per second, about {count or '?'} frames")
    if video.goal == "file":
        dry_run.say_output(job, reader, plan, count, lambda: opened_for(job, "pipe"))
    if count is not None:
        whole = timedelta(seconds=round(each * count / len(video.workers)))
        say(f"about {whole} at {each:.2f} seconds per frame, without decoding and encoding")


def _seconds_of_one(workers: Workers, head: list[TimedFrame]) -> float:
    """Of a frame between two; of the second one, since the first one loads libraries, unless it takes long."""
    took = 0.0
    for _ in range(2):
        if took < _LONG:
            begun = time.monotonic()
            list(workers.between(head[0].rgb, head[1].rgb, [0.5]))
            took = time.monotonic() - begun
    return took


def _report(video: Rendering, done: tuple[int, str, str, tuple[Path, ...]]) -> None:
    """Says what has been done: how many frames, under which name, by which encoder."""
    job, reader, renderer = video.job, video.reader, video.renderer
    written, name, encoder, paths = done
    distinct = len(set(job.times or ()))
    if job.times and distinct < len(job.times):
        note(f"of the {len(job.times)} times {distinct} differ")
    if job.times and written != distinct:
        note(f"only {written} of the {distinct} times lie within the video")
    frames = reader.decoded if job.start is None and job.end is None else reader.given
    left_out = f"; {counted(renderer.unseen, 'frame')} left out" if renderer.unseen and not job.times else ""
    if encoder:
        say(f"encoded by {encoder}")
    made = f"{renderer.interpolated} interpolated, {renderer.repeated} repeated; {counted(renderer.cuts, 'scene cut')}"
    source = f"{counted(frames, 'frame')} of {name_of(Path(job.source.name))}"
    say(f"wrote {name}: {counted(written, 'frame')} ({made}), from {source}{left_out}")
    has_written(Written(paths, written, renderer.interpolated, renderer.repeated, renderer.cuts, frames, encoder))


def list_cuts(source: Path, images: Sequence[Path], rate: Fraction, deinterlace: Deinterlace, *, trusted: bool) -> None:
    """Prints the times at which scenes begin, in seconds, each in a line."""
    with closing(opened(source, images, rate=rate, trusted=trusted, deinterlace=deinterlace)) as reader:
        for frame, begins in SceneCuts().marked(reader.frames(), lambda frame: frame.rgb):
            if begins:
                say(f"{float(frame.time):.6f}")


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
        say(f"wrote {name}: {writer.frames} frames at {held} frames per second")
        settings = writer.settings if isinstance(writer, VideoWriter) else ""
        paths = () if job.output == STREAM else (job.output,)
        has_written(Written(paths, writer.frames, len(job.times), encoder=settings))
    interpolate_images.check_whole((job.first, image0), (job.second, image1))


def _write_images(rendered: Iterable[Rendered], job: VideoJob) -> tuple[Path, ...]:
    """Writes the pictures to numbered files."""
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
    return tuple(written)
