"""A video that is opened and planned, and the pictures that are made of it, whatever becomes of them."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from typing import Literal

from vfi.commands import progress, video_output
from vfi.commands.program import note
from vfi.commands.video_frames import Rendered, Renderer
from vfi.commands.video_plan import Plan, VideoJob, check_cuts, check_job, output_seconds, plan_for, stray_cuts
from vfi.commands.workers import Workers
from vfi.errors import UserError
from vfi.models.interpolator import Interpolator
from vfi.video.av_common import counted, name_of
from vfi.video.containers import is_y4m
from vfi.video.duplicates import Distinct
from vfi.video.inputs import Reader, opened
from vfi.video.overlap import Ahead
from vfi.video.reader import TimedFrame
from vfi.video.segments import Work, check_left
from vfi.video.sequence import SequenceReader, Stills, into_images, kind_of

# Seconds of pictures before those that a resumed run begins with: what scene cuts are told by.
LOOKED_BACK = 2
# A video with sound, numbered images, pictures for a pipe; or arrays for Python, in which case there is no output.
Goal = Literal["file", "images", "pipe", "arrays"]


def goal_of(job: VideoJob) -> Goal:
    """By the name of the output."""
    if into_images(job.output):
        return "images"
    return "pipe" if is_y4m(job.output) else "file"


@dataclass
class Rendering:
    """See `planned`. head: the first two frames; rest: those behind. work: what is kept in segments."""

    job: VideoJob
    goal: Goal
    reader: Reader
    plan: Plan
    workers: Workers
    renderer: Renderer
    head: list[TimedFrame]
    rest: Iterator[TimedFrame]
    distinct: Distinct
    work: Work | None

    @contextmanager
    def pictures(self) -> Iterator[tuple[Iterator[Rendered], Ahead[TimedFrame]]]:
        """What is rendered, and what reads ahead meanwhile, which ends with the block."""
        if self.work is not None and self.work.segments:
            self.renderer.go_on(self.work.segments[-1], self.work.since)
        with closing(Ahead(self.rest)) as ahead:
            rendered = self.renderer.render(chain(self.head, ahead))
            name = self.job.source.name if self.goal == "arrays" else self.job.output.name
            yield progress.shown(rendered, self.expected, name, self.job.progress), ahead

    @property
    def expected(self) -> int | None:
        """About how many frames will be made; None where the source does not tell its length."""
        info = self.reader.info
        if info.duration is None and not self.job.times:
            return None
        duration = info.duration or Fraction(0)
        seconds = max(Fraction(0), min(duration, self.job.end or duration) - self.plan.origin)
        return self.plan.timeline.count(seconds * info.rate, seconds)

    def missing(self) -> str | None:
        """Once it has been read: what of the source did not come, in a sentence; notes say what was made good."""
        _say_reading(self.job, self.reader, self.plan, self.renderer, self.distinct)
        parts = self.reader.missing(whole=self.job.end is None and not self.job.times)
        return f"{name_of(self.job.source)} is incomplete, the result with it: {'; '.join(parts)}" if parts else None


@contextmanager
def planned(job: VideoJob, models: Sequence[tuple[Interpolator, str]], goal: Goal) -> Iterator[Rendering]:
    """Opens the source and settles what will be rendered; wrong requests are refused here. All ends with the block."""
    check_job(job)
    with ExitStack() as stack:
        reader = stack.enter_context(closing(opened_for(job, goal)))
        work: Work | None = None
        in_file = goal == "file" and not job.dry_run
        if in_file and video_output.in_segments(job, output_seconds(job, reader.info)):
            work = stack.enter_context(video_output.work_of(job))
        elif in_file:
            check_left(job.output, anew=job.overwrite)
        distinct = Distinct()
        head, rest = _at_least_two(reader, job, work, distinct)
        plan = plan_for(job, reader, head[0].time, goal in ("images", "arrays"))
        check_cuts(job, reader.info)
        for loss in reader.info.losses:
            note(f"of {name_of(job.source)}, {loss}")
        workers = stack.enter_context(closing(Workers(models)))
        renderer = Renderer(workers, plan.timeline, scene_cuts=job.scene_cuts, step=1 / reader.rate, lead=plan.lead)
        yield Rendering(job, goal, reader, plan, workers, renderer, head, rest, distinct, work)


def opened_for(job: VideoJob, goal: Goal) -> Reader:
    kind = kind_of(job.encoding.pixels)[0] if job.images else None
    return opened(
        job.source, job.images, target=None if goal == "arrays" else job.output, kind=kind, rate=job.input_fps,
        sound=goal == "file", trusted=job.trust_input, deinterlace=job.deinterlace,
    )  # fmt: skip


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


def _at_least_two(
    reader: Reader, job: VideoJob, work: Work | None, distinct: Distinct
) -> tuple[list[TimedFrame], Iterator[TimedFrame]]:
    """The first two frames asked for, and the rest; an error without two, for nothing lies between them then."""
    since = work.since if work is not None else None
    frames = reader.frames(job.start, job.end, None if since is None else since - LOOKED_BACK, next_too=True)
    frames = distinct.frames(frames) if job.dedup else frames
    head = list(islice(frames, 2))
    if len(head) < 2:
        part = " between --start and --end" if job.start is not None or job.end is not None else ""
        said = f"{name_of(job.source)} has {'only one frame' if head else 'no frame'}{part}; two are needed"
        causes = list(reader.unread.values()) if isinstance(reader, SequenceReader) else []
        raise UserError(": ".join([said, *causes[:1]]))
    return head, frames
