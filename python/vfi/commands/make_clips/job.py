"""Makes a manifest of clips from videos: looks at each, keeps what was found out, and cuts those that are taken."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from vfi.commands.make_clips.rules import Facts, Rules, read_facts
from vfi.commands.make_clips.scores import Score
from vfi.commands.program import note
from vfi.data.captioned.captions import Captions
from vfi.data.captioned.clip_files import clip_name, write_clips
from vfi.data.captioned.manifest import ClipRecord, cut, named
from vfi.errors import UserError, require
from vfi.files import json_lines
from vfi.files.atomic import check_target
from vfi.video.reader import VideoReader

# Of videos, each with what is known of it.
Elsewhere = Callable[[Sequence[tuple["Found", Facts | None]]], Iterator[Facts]]
SUFFIXES = (
    ".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".gif"
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A video, and what a file of captions may call it."""

    path: Path
    names: tuple[str, ...]


@dataclass(frozen=True)
class ClipJob:
    """A manifest to make, and the file of what was found out, beside it.

    settings: what the scores depend on; a manifest is gone on with under the same only. None as a score: it is not
    measured.
    """

    inputs: Sequence[Path]
    output: Path
    rules: Rules = field(default_factory=Rules)
    listing: Path | None = None
    captions: Path | None = None
    clip_score: Score | None = None
    flow_score: Score | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    clips: Path | None = None  # folder for the clips as files
    lossless: bool = False
    resume: bool = False
    overwrite: bool = False
    quiet: bool = False

    @property
    def facts(self) -> Path:
        return self.output.with_suffix(".videos.jsonl")

    def clip_file(self, video: Path, count: int) -> Path | None:
        return None if self.clips is None else self.clips / clip_name(video, count, self.lossless)


@dataclass
class Summary:
    """How far it came, how many videos were left out for which reason, and what the scores of the others were."""

    videos: int = 0
    kept: int = 0
    clips: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    clip_scores: list[float] = field(default_factory=list)
    flow_scores: list[float] = field(default_factory=list)

    def count(self, facts: Facts, reason: str | None, clips: int) -> None:
        self.videos += 1
        self.clips += clips
        if reason is None:
            self.kept += 1
        else:
            self.left_out[reason] += 1
        self.clip_scores += [] if facts.clip_score is None else [facts.clip_score]
        self.flow_scores += [] if facts.flow_score is None else [facts.flow_score]


def find_videos(inputs: Sequence[Path], listing: Path | None = None) -> list[Found]:
    """The videos below folders, by their suffixes, in the order of their paths; then those given, then those of a list.

    Raises:
        UserError: if something does not exist, or there is no video.
    """
    videos_by_path: dict[str, Found] = {}

    def add(path: Path, *names: str) -> None:
        whole = os.path.abspath(path)
        videos_by_path.setdefault(whole, Found(Path(whole), (*names, whole, path.name)))

    for path in inputs:
        if path.is_dir():
            below = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            for video in sorted(p for p in below if p.is_file()):
                add(video, video.relative_to(path).as_posix())
        else:
            add(path, str(path))
    if listing is not None:
        for line in _lines(listing):
            add(listing.parent / line, line)
    for one in videos_by_path.values():
        if not one.path.is_file():
            raise UserError(f"{one.path} does not exist, or is no file")
    if not videos_by_path:
        raise UserError(f"no video found below {', '.join(map(str, inputs))}; known are {' '.join(SUFFIXES)}")
    return list(videos_by_path.values())


def _lines(listing: Path) -> list[str]:
    try:
        return [line.strip() for line in listing.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {listing}: {error}") from error


def run(job: ClipJob, summary: Summary, elsewhere: "Elsewhere | None" = None) -> None:
    """Makes the manifest, or goes on with it; `summary` is filled as it goes.

    elsewhere: gives what other machines find out of videos, in their order, and cut of them.

    Raises:
        UserError: if a request makes no sense or a file cannot be written. Videos that cannot be read are left out.
    """
    job.rules.check()
    videos = find_videos(job.inputs, job.listing)
    captions = Captions(job.captions)
    measured = _known(job)
    taken = [_taken(job, measured[v.path.as_posix()], v, captions) for v in videos if _done(job, measured, v)]
    for facts, reason, records in taken:
        summary.count(facts, reason, len(records))
    header = {"settings": dict(job.settings)}
    with (
        closing(
            json_lines.Lines(job.facts, [header, *(facts.as_json() for facts in measured.values())])
        ) as facts_lines,
        closing(json_lines.Lines(job.output, [r.as_json() for _, _, rs in taken for r in rs])) as clip_lines,
    ):
        rest = [video for video in videos if not _done(job, measured, video)]
        known = [_known_of(job, measured, video) for video in rest]
        found = elsewhere(list(zip(rest, known))) if elsewhere is not None else None
        for video, earlier in zip(_with_progress(rest, len(videos), job.quiet), known):
            looked = earlier if found is None else next(found)
            facts = measure(job, video.path) if looked is None else looked
            if earlier is None:
                facts_lines.add(facts.as_json())
                if facts.problem is not None:
                    note(f"{video.path} is left out: {facts.problem}")
            facts, reason, records = _taken(job, facts, video, captions)
            if found is None:
                write(job, video, records)
            clip_lines.add(*(record.as_json() for record in records))
            summary.count(facts, reason, len(records))


def look(job: ClipJob, captions: Captions, video: Found, earlier: Facts | None) -> Facts:
    """What is found out of a video; its clips are cut."""
    facts = measure(job, video.path) if earlier is None else earlier
    write(job, video, _taken(job, facts, video, captions)[2])
    return facts


def write(job: ClipJob, video: Found, records: Sequence[ClipRecord]) -> None:
    if records and job.clips is not None:
        parts = [(record.first, record.frames, job.output.parent / str(record.file)) for record in records]
        write_clips(video.path, parts, job.lossless)


def _known_of(job: ClipJob, measured: Mapping[str, Facts], video: Found) -> Facts | None:
    """What was found out of a video, if that is enough."""
    earlier = measured.get(video.path.as_posix())
    return None if earlier is None or _must_measure(job, earlier) else earlier


def _known(job: ClipJob) -> dict[str, Facts]:
    """What an earlier run found out, if this one goes on."""
    if not job.resume:
        for path in (job.output, job.facts):
            if path.exists() and not job.overwrite:
                raise UserError(f"{path} exists already; --resume goes on with it, --overwrite begins anew")
            check_target(path, overwrite=True)
        return {}
    if not job.facts.is_file():
        if job.output.exists():
            raise UserError(f"cannot go on with {job.output}: {job.facts} is missing; --overwrite begins anew")
        return {}
    header, *lines = json_lines.read(job.facts) or [{}]
    if header.get("settings") != dict(job.settings):
        raise UserError(f"the scores in {job.facts} were measured in another way; begin anew with --overwrite")
    facts = [read_facts(line, job.facts) for line in lines]
    return {one.video: one for one in facts}


def _must_measure(job: ClipJob, facts: Facts) -> bool:
    return not facts.measured and job.rules.against_file(facts) is None


def _done(job: ClipJob, measured: Mapping[str, Facts], video: Found) -> bool:
    """Whether nothing of a video must be read any more."""
    facts = measured.get(video.path.as_posix())
    if facts is None or _must_measure(job, facts):
        return False
    files = [job.clip_file(video.path, count) for count in job.rules.counts]
    return job.rules.against(facts, captioned=True) is not None or all(file is None or file.is_file() for file in files)


def measure(job: ClipJob, path: Path) -> Facts:
    """Looks at a video: as far as needed to leave it out, else at its first and its last frame."""
    video = path.as_posix()
    try:
        with closing(VideoReader(path)) as reader:
            info = reader.info
            facts = Facts(video, fps=float(info.rate), size=(info.height, info.width))
            if job.rules.against_file(facts) is not None:
                return facts
            frames, first, last = reader.ends(job.rules.most)
            damaged = reader.shortfall.damaged
    except UserError as error:
        return Facts(video, problem=str(error))
    if damaged:
        return Facts(video, problem=f"{damaged} packets of {path} are damaged")
    facts = Facts(video, None, facts.fps, facts.size, frames)
    if job.rules.against_file(facts) is not None:
        return facts
    scores = [None if score is None else score(first, last) for score in (job.clip_score, job.flow_score)]
    if any(score is not None and score != score for score in scores):
        return Facts(video, problem=f"the scores of {path} are not finite")
    return Facts(video, None, facts.fps, facts.size, frames, True, *scores)


def _taken(job: ClipJob, facts: Facts, video: Found, captions: Captions) -> tuple[Facts, str | None, list[ClipRecord]]:
    """The clips of a video, or why there are none."""
    words = {count: captions.of(video.path, video.names, count) for count in job.rules.counts}
    reason = job.rules.against(facts, all(words.values()))
    if reason is not None:
        return facts, reason, []
    frames = facts.frames or 0
    records = [
        ClipRecord(
            named(video.path, job.output), cut(frames, count), count, facts.fps, facts.size, words[count],
            facts.clip_score, facts.flow_score,
            None if file is None else named(file, job.output),
        )
        for count in job.rules.counts
        for file in [job.clip_file(video.path, count)]
    ]  # fmt: skip
    return facts, None, records


def _with_progress(videos: Sequence[Found], total: int, quiet: bool) -> Iterator[Found]:
    bar = require("tqdm").tqdm(
        videos, total=total, initial=total - len(videos), unit="video", disable=True if quiet else None
    )
    return iter(bar)
