"""What is rendered of a video, into a file: at once, or in segments that outlive a run that is killed."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from vfi.commands.program import note
from vfi.commands.video_frames import Rendered, Renderer
from vfi.commands.video_plan import Plan, VideoJob
from vfi.errors import UserError
from vfi.files.images import Image
from vfi.video.av_common import STREAM, counted
from vfi.video.containers import can_be_joined
from vfi.video.demux import Demuxer
from vfi.video.encoder import Picture
from vfi.video.extras import Span
from vfi.video.inputs import Reader
from vfi.video.overlap import Behind
from vfi.video.reader import TimedFrame
from vfi.video.segment_writer import SegmentWriter
from vfi.video.segments import Unjoined, Work, fingerprint, folder_of
from vfi.video.sound_tracks import Sound
from vfi.video.writer import VideoWriter
from vfi.video.y4m import PlainFile, Y4mWriter

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream

NO_TIME = "none of the times lies within the video"
# Packets of each sound track that show how it can be written, and seconds that are read for them at most.
_FIRST_PACKETS, _FIRST_SECONDS = 8, 10


def in_segments(job: VideoJob, seconds: Fraction | None) -> bool:
    """Whether the work is kept in segments. seconds: how long the output will be about; None: not known."""
    if job.times or not job.segment or STREAM in (job.source, job.output) or not can_be_joined(job.output):
        return False
    return seconds is None or seconds > job.segment or (job.resume and folder_of(job.output).is_dir())


def work_of(job: VideoJob) -> Work:
    """What an earlier run has left of it, or a new beginning."""
    what = {"input": fingerprint(job.images or job.source), **dict(job.settings), "segment": str(job.segment)}
    return Work(job.output, what, resume=job.resume, anew=job.overwrite)


def write_at_once(
    rendered: Iterable[Rendered], job: VideoJob, reader: Reader, plan: Plan, stop: Callable[[], None]
) -> tuple[int, str]:
    """Writes the pictures, and the sound unless the speed changes; returns the number of frames, and the encoder.

    stop: ends the reading ahead, which nobody may do beside the writer's last reading of the sound.
    """
    writer = VideoWriter(job.output, picture_of(reader, plan), job.encoding)
    try:
        _carry_over(writer, job, reader, plan, reader.demuxer)
        _say(job, reader, plan, writer)
        with closing(Behind()) as behind:
            for rgb, time, like in rendered:
                behind.call(partial(writer.write, rgb, (time - plan.origin) * job.slow_motion, own_of(rgb, like)))
            behind.wait()
        if writer.frames == 0:
            raise UserError(NO_TIME)
        writer.finish()
    except KeyboardInterrupt:
        stop()
        if job.address is None and writer.interrupted():
            note(f"{job.output} holds the first {float(writer.seconds):.2f} seconds")
        raise
    finally:
        writer.discard()
    for trouble in writer.sound_summary():
        note(trouble)
    return writer.frames, writer.settings


def write_plainly(rendered: Iterable[Rendered], job: VideoJob, reader: Reader, plan: Plan, file: PlainFile) -> int:
    """Writes the pictures alone, without compression."""
    writer = Y4mWriter(file, picture_of(reader, plan))
    if lost := list(_lost_in_pipes(job, reader)):
        note(
            f"{', '.join(lost)} left out: {'pipes hold' if job.output == STREAM else 'YUV4MPEG2 holds'} pictures alone"
        )
    for notice in plan.notices:
        note(notice)
    for rgb, time, like in rendered:
        writer.write(rgb, time, own_of(rgb, like))
    if writer.frames == 0:
        raise UserError(NO_TIME)
    return writer.frames


def _lost_in_pipes(job: VideoJob, reader: Reader) -> Iterator[str]:
    """What the source has beside pictures, in words."""
    if reader.demuxer is not None:
        container = reader.demuxer.container
        tracks, texts = len(container.streams.audio), len(container.streams.subtitles)
        yield from [counted(tracks, "sound track")] if tracks and job.sound.keep else []
        yield from [counted(texts, "subtitle track")] if texts else []
        yield from [counted(len(container.chapters()), "chapter")] if container.chapters() else []
    yield from ["the HDR metadata"] if reader.info.hdr is not None else []
    yield from ["the alpha channel"] if reader.info.alpha else []


def write_in_segments(
    rendered: Iterable[Rendered], job: VideoJob, reader: Reader, plan: Plan, renderer: Renderer, work: Work
) -> tuple[int, str]:
    """As `write_at_once`; what is finished when the run ends in any way is kept in `work`."""
    replaces = job.output.exists()
    say_what_travels(job, reader, plan)
    if reader.demuxer is not None:
        reader.demuxer.keep_sound(())  # it is read once more when the segments are joined
    joined: VideoWriter | None = None
    try:
        render_segments(rendered, job, reader, plan, renderer, work)
        if not work.segments:
            raise UserError(NO_TIME)
        joined = VideoWriter(job.output, picture_of(reader, plan), job.encoding, replaces=replaces)
        join(joined, job, reader, plan, work.packets())
    finally:
        if joined is not None:
            joined.discard()
        if joined is not None and joined.named:
            work.remove()
        elif work.segments and job.address is None:
            note(f"{counted(len(work.segments), 'finished segment')} kept in {work.folder}: add --resume to go on")
    for trouble in joined.sound_summary():
        note(trouble)
    return joined.frames, joined.settings


def own_of(rgb: np.ndarray, like: TimedFrame) -> "VideoFrame | None":
    """What was decoded, of a picture that is a frame of the source."""
    return None if rgb is not like.rgb or isinstance(like.own, Image) else like.own


def say_what_travels(job: VideoJob, reader: Reader, plan: Plan) -> VideoWriter:
    """Tries how everything will be written, and says what will be changed or lost; returns the writer, closed."""
    trial = VideoWriter(job.output, picture_of(reader, plan), job.encoding)
    try:
        _carry_over(trial, job, reader, plan, reader.demuxer)
        _say(job, reader, plan, trial)
    finally:
        trial.discard()
    return trial


def render_segments(
    rendered: Iterable[Rendered], job: VideoJob, reader: Reader, plan: Plan, renderer: Renderer, work: Unjoined,
    end: int | None = None,
) -> None:  # fmt: skip
    """Each segment ends where a frame of the source begins that lies in the next one; those numbered from `end` on are
    left to others."""

    def number() -> int:
        return math.floor((renderer.begins - plan.origin) * job.slow_motion / job.segment)

    current: SegmentWriter | None = None
    of = 0
    try:
        with closing(Behind()) as behind:
            for rgb, time, like in rendered:
                if current is not None and number() != of:
                    behind.wait()
                    current.finish(renderer.counted, renderer.begins)
                    current = None
                if current is None and end is not None and number() >= end:
                    return
                if current is None:
                    current, of = SegmentWriter(job.output, picture_of(reader, plan), job.encoding, work), number()
                behind.call(partial(current.write, rgb, (time - plan.origin) * job.slow_motion, own_of(rgb, like)))
            behind.wait()
        if current is not None:
            current.finish(renderer.all_counted, None)
    finally:
        if current is not None:
            current.close()


def join(
    writer: VideoWriter, job: VideoJob, reader: Reader, plan: Plan,
    segments: "Iterable[tuple[Iterator[Packet[VideoStream]], int]]",
) -> None:  # fmt: skip
    """Puts segments, each with its number of frames, together, as they are, with all that travels along."""
    with ExitStack() as stack:
        if reader.demuxer is not None:
            demuxer = stack.enter_context(closing(Demuxer(job.source, sound=True)))
            waiting = [demuxer.sound[stream.index] for stream in demuxer.audio]
            while demuxer.reached < reader.origin + _FIRST_SECONDS and any(len(q) < _FIRST_PACKETS for q in waiting):
                if not demuxer.next_packet():
                    break
            _carry_over(writer, job, reader, plan, demuxer)
        for packets, frames in segments:
            writer.join(packets, frames)
        writer.finish()


def picture_of(reader: Reader, plan: Plan) -> Picture:
    info, clock = reader.info, plan.clock
    return Picture(
        info.width, info.height, clock.rate, clock.tick, info.pixel_aspect, info.colour, clock.least, info.codec,
        info.pixels, info.hdr, info.alpha,
    )  # fmt: skip


def _say(job: VideoJob, reader: Reader, plan: Plan, writer: VideoWriter) -> None:
    """What will be changed or lost."""
    if reader.demuxer is not None and reader.demuxer.audio and job.sound.keep and sound_of(job) != job.sound:
        keeps = "" if job.times else "; --audio stretch keeps it"
        note(f"the sound is left out, because {'single frames are taken' if job.times else 'the speed changes'}{keeps}")
    for notice in (*plan.notices, *writer.notices):
        note(notice)


def sound_of(job: VideoJob) -> Sound:
    """None where the speed changes."""
    left_out = job.times or (job.slow_motion != 1 and not job.sound.stretch)
    return Sound(keep=False) if left_out else job.sound


def _carry_over(writer: VideoWriter, job: VideoJob, reader: Reader, plan: Plan, demuxer: Demuxer | None) -> None:
    end = None if job.end is None else reader.origin + job.end
    if not job.times and demuxer is not None:
        writer.carry_over(demuxer, Span(reader.origin + plan.origin, end, job.slow_motion), sound_of(job))
