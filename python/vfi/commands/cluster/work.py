"""What a node does for a video: plan it, render a part of it, or make all of it. Nothing here knows of Ray."""

import argparse
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TypeVar

from vfi.commands import chosen_model, interpolate_video, video_output
from vfi.commands.cluster.made import Made
from vfi.commands.cluster.parts import Parts, Record, Unsaved
from vfi.commands.program import Heard, listening, note
from vfi.commands.video_frames import Rendered, Renderer
from vfi.commands.video_plan import Plan, VideoJob, check_cuts, output_seconds, plan_for
from vfi.commands.video_rendering import LOOKED_BACK, goal_of, opened_for
from vfi.commands.workers import Workers
from vfi.commands.written import Written
from vfi.errors import Incomplete
from vfi.files.images import Image
from vfi.files.places import is_remote
from vfi.files.temporary import own_folder
from vfi.models.interpolator import Interpolator
from vfi.models.on_engine import OnEngine
from vfi.video.av_common import name_of
from vfi.video.duplicates import Distinct
from vfi.video.overlap import Ahead
from vfi.video.reader import TimedFrame, VideoReader
from vfi.video.segments import fingerprint, folder_of

T = TypeVar("T")


@dataclass(frozen=True)
class Film:
    """A video that is to be made, and the options of the command. work: the name of what is done for it, which no other
    run has. threads: for the encoder, unless it was told."""

    job: VideoJob
    options: argparse.Namespace
    work: str = ""
    threads: int = 1


@dataclass(frozen=True)
class Planned:
    """What is settled of a film before its first frame.

    parts: each is one segment, the last all that follow; None: it is made at once. expected: about how many frames;
    None: the source does not tell. done: the parts that an earlier run has left, with their frames.
    """

    film: Film
    plan: Plan | None = None
    parts: int | None = None
    expected: int | None = None
    done: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Task:
    """A part of a film. sought: the source is searched for where it begins; else it is read from its beginning."""

    planned: Planned
    number: int
    sought: bool = True

    @property
    def end(self) -> int | None:
        """The number of the segment that follows; None: all are its own."""
        is_last = not self.sought or self.number + 1 == self.planned.parts
        return None if is_last else self.number + 1


def models_of(options: argparse.Namespace) -> Sequence[tuple[Interpolator, str]]:
    """The model, loaded once in this process for the same options."""
    return made_once(_models, options, ("input", "output"), lambda: chosen_model.load_each(options))


def made_once(made: dict[str, T], options: argparse.Namespace, others: Sequence[str], make: Callable[[], T]) -> T:
    """What was made last, if that was for the same options. others: those on which it does not depend."""
    key = repr(sorted((name, str(value)) for name, value in vars(options).items() if name not in others))
    if key not in made:
        made.clear()
        made[key] = make()
    return made[key]


_models: dict[str, Sequence[tuple[Interpolator, str]]] = {}


def plan(film: Film) -> Planned:
    """Opens the source, settles what will be rendered, and tries how all of it is written; wrong requests end here."""
    job = film.job
    if goal_of(job) != "file":
        return Planned(film)
    with closing(opened_for(job, "file")) as reader:
        seconds = output_seconds(job, reader.info)
        if not isinstance(reader, VideoReader) or not video_output.in_segments(replace(job, resume=False), seconds):
            return Planned(film)
        head = list(islice(reader.frames(job.start, job.end, next_too=True), 2))
        if len(head) < 2:
            return Planned(film)
        settled = plan_for(job, reader, head[0].time, False)
        check_cuts(job, reader.info)
        for loss in reader.info.losses:
            note(f"of {name_of(job.source)}, {loss}")
        with interpolate_video.locally(job) as local:
            video_output.say_what_travels(local, reader, settled)
        what = {"input": fingerprint(job.source), **dict(job.settings), "segment": str(job.segment)}
        parts = Parts(job.output, film.work)
        known = parts.begin(what, resume=job.resume, anew=job.overwrite)
        film = with_engine(film, (reader.info.height, reader.info.width), known.get("as on"))
        film = with_threads(replace(film, work=parts.work), int(known.get("threads", film.threads)))
        settled_too = {"as on": f"{film.options.engine} {film.options.precision}", "threads": str(film.threads)}
        parts.keep(known | settled_too)
        count = 1 if seconds is None else max(1, math.ceil(seconds / job.segment))
        expected = None if seconds is None else round(seconds * settled.clock.rate)
        done = tuple(sorted((first, record.frames) for first, record in parts.records().items()))
        return Planned(film, settled, count, expected, done)


def with_threads(film: Film, count: int) -> Film:
    """With that many for the encoder unless it was told: what some make depends on it, and nodes differ."""
    encoding = film.job.encoding
    if any(name == "threads" for name, _ in encoding.options):
        return film
    encoding = replace(encoding, options=(*encoding.options, ("threads", str(count))))
    return replace(film, job=replace(film.job, encoding=encoding), threads=count)


def with_engine(film: Film, size: tuple[int, int], known: str | None) -> Film:
    """The engine and the precision are chosen here, once, not by each node: as an earlier run has chosen."""
    options = argparse.Namespace(**vars(film.options))
    if known is None:
        ((model, _),) = models_of(options)
        if isinstance(model, OnEngine):
            chosen = model.plan_for(size)
            options.engine, options.precision = chosen.engine, chosen.precision
    else:
        engine, precision = known.split()
        options.engine, options.precision = (None if each == "None" else each for each in (engine, precision))
    return replace(film, options=options)


def at_once(film: Film) -> tuple[list[Written], str]:
    """The whole film, as on one machine; and what of the source is missing."""
    missing = ""
    if goal_of(film.job) == "file":
        film = with_threads(film, film.threads)
    made = Made(film.job.output, film.work)
    with made.noted() as again, listening_here() as heard:
        # Segments that are there are of the run before, since a worker has died
        resume = film.job.resume or (again and folder_of(film.job.output).exists())
        overwrite = film.job.overwrite or is_remote(film.job.output)
        try:
            job = replace(film.job, progress="none", resume=resume, overwrite=overwrite)
            interpolate_video.run(job, models_of(film.options))
        except Incomplete as error:
            missing = str(error)
    return heard.written, missing


@contextmanager
def listening_here() -> Iterator[Heard]:
    """What is written is heard here, notes by who listens outside."""
    with listening() as heard:
        yield heard
    for text in heard.notes:
        note(text)


def render(task: Task) -> Record:
    """A part, which is kept beside the output then."""
    film = task.planned.film
    job, settled = film.job, task.planned.plan
    assert settled is not None
    parts = Parts(job.output, film.work)
    with ExitStack() as stack:
        folder = stack.enter_context(own_folder())
        reader = stack.enter_context(closing(opened_for(job, "file")))
        assert isinstance(reader, VideoReader)
        workers = stack.enter_context(closing(Workers(models_of(film.options))))
        begin = begin_of(task.number, settled, job)
        # The first frame is held for as long as it takes before its time.
        since = None if begin <= settled.origin + settled.lead else begin
        renderer = Renderer(
            workers, settled.timeline, scene_cuts=job.scene_cuts, step=1 / reader.rate, lead=settled.lead, since=since
        )
        until = None if task.end is None else begin_of(task.end, settled, job)
        seen = Seen(since, until, job.end)
        distinct = Distinct()
        frames = seen.counted(frames_from(reader, job, since, sought=task.sought))
        ahead = stack.enter_context(closing(Ahead(distinct.frames(frames) if job.dedup else frames)))
        unsaved = Unsaved(folder, film.work, task.number)
        rendered = seen.noted(renderer.render(ahead), renderer)
        video_output.render_segments(
            rendered, replace(job, output=Path(job.output.name)), reader, settled, renderer, unsaved, task.end
        )
        counts = renderer.counted if seen.until is not None else renderer.all_counted
        missing = reader.missing(whole=seen.until is None and job.end is None)
        record = Record(
            task.number, task.end, unsaved.files(), seen.begins, seen.until, counts, seen.frames,
            tuple(reader.repairs()), tuple(missing),
        )  # fmt: skip
        parts.add(record, folder)
    return record


def begin_of(segment: int, settled: Plan, job: VideoJob) -> Fraction:
    """The time in the source with which it begins."""
    return settled.origin + segment * job.segment / job.slow_motion


def frames_from(reader: VideoReader, job: VideoJob, since: Fraction | None, *, sought: bool) -> Iterator[TimedFrame]:
    """Those asked for, from some before `since` on, by which scene cuts are told."""
    looked = None if since is None else since - LOOKED_BACK
    if looked is None or not sought or looked <= (job.start or 0):
        return reader.frames(job.start, job.end, looked, next_too=True)
    return reader.frames(looked, job.end, next_too=True)


class Seen:
    """What a part saw of the source: see `Record`. since, until: the times between which its pictures begin. end: of
    what is wanted of the source."""

    def __init__(self, since: Fraction | None, until: Fraction | None, end: Fraction | None) -> None:
        self._since, self._until, self._end = since, until, end
        self.frames = 0
        self.begins: str | None = None
        self.until: str | None = None

    def counted(self, frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
        """The same frames."""
        for frame in frames:
            ends = [end for end in (self._until, self._end) if end is not None]
            self.frames += (self._since is None or frame.time >= self._since) and all(frame.time < end for end in ends)
            yield frame

    def noted(self, rendered: Iterator[Rendered], renderer: Renderer) -> Iterator[Rendered]:
        """The same pictures; the first one of the next part is seen as well."""
        for each in rendered:
            if self._until is not None and renderer.begins >= self._until:
                self.until = mark_of(each[2])
            elif self.begins is None:
                self.begins = mark_of(each[2])
            yield each


def mark_of(frame: TimedFrame) -> str:
    """Tells a frame of the source from all others: when it is shown, when its file says so, and what it shows."""
    stamp = "" if frame.own is None or isinstance(frame.own, Image) else frame.own.pts
    return f"{frame.time} {stamp} {hashlib.sha256(frame.rgb.tobytes()).hexdigest()[:16]}"
