"""Parts of a video, however many machines have made them, become one file. Nothing here knows of Ray."""

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from vfi.commands import video_output
from vfi.commands.cluster.made import Made
from vfi.commands.cluster.parts import Parts, Record
from vfi.commands.cluster.work import Planned
from vfi.commands.interpolate_video import locally
from vfi.commands.program import note
from vfi.commands.video_rendering import opened_for
from vfi.commands.written import Written
from vfi.errors import UserError
from vfi.files.places import is_remote, put
from vfi.video.av_common import name_of
from vfi.video.writer import VideoWriter


@dataclass(frozen=True)
class Torn:
    """Parts that do not meet: where the source was searched, times were not those of reading it whole. first: the part
    from which on it is to be read from the beginning; frames: how many are lost."""

    first: int
    frames: int


def join(planned: Planned) -> tuple[Written, str] | Torn:
    """Puts the parts together, with all that travels along; and what of the source is missing. They stay: a task may be
    run once more."""
    job, settled = planned.film.job, planned.plan
    assert settled is not None
    parts = Parts(job.output, planned.film.work)
    records = in_order(parts.records())
    check_all(records, job.output)
    torn = torn_at(records)
    if torn is not None:
        parts.drop(torn)
        return Torn(torn, sum(record.frames for record in records if record.first >= torn))
    if not any(record.frames for record in records):
        raise UserError(video_output.NO_TIME)
    made = Made(job.output, planned.film.work)
    with locally(job) as local, made.noted(), closing(opened_for(job, "file")) as reader:
        replaces = job.overwrite or is_remote(job.output)
        writer = VideoWriter(local.output, video_output.picture_of(reader, settled), job.encoding, replaces=replaces)
        try:
            segments = (segment for record in records for segment in parts.packets(record))
            video_output.join(writer, local, reader, settled, segments)
        finally:
            writer.discard()
        for trouble in writer.sound_summary():
            note(trouble)
        if is_remote(job.output):
            put(local.output, job.output)
    interpolated, repeated, cuts = (sum(record.counts[i] for record in records) for i in range(3))
    source = sum(record.source for record in records)
    if repairs := all_said([record.notes for record in records]):
        note(f"times of {name_of(job.source)} were repaired: {', '.join(repairs)}")
    said = "; ".join(all_said([record.missing for record in records]))
    missing = f"{name_of(job.source)} is incomplete, the result with it: {said}" if said else ""
    return Written((job.output,), writer.frames, interpolated, repeated, cuts, source, writer.settings), missing


def all_said(sentences: Sequence[Sequence[str]]) -> list[str]:
    """Of all parts; where several count the same thing, some of it may have been seen by both: the most is said."""
    by_kind: dict[str, list[str]] = {}
    for text in (text for said in sentences for text in said):
        by_kind.setdefault(_COUNTS.sub("", text), []).append(text)
    result = []
    for texts in by_kind.values():
        most = max(texts, key=lambda text: [int(number) for number in re.findall(r"\d+", text)])
        result.append(f"at least {most}" if len(texts) > 1 and most[0].isdigit() else most)
    return result


_COUNTS = re.compile(r"\d+|s\b")  # numbers, and the plural that they bring


def in_order(records: dict[int, Record]) -> list[Record]:
    """One behind the other, without what a part that goes to the end has made needless."""
    result: list[Record] = []
    for first in sorted(records):
        result.append(records[first])
        if records[first].end is None:
            break
    return result


def check_all(records: Sequence[Record], output: Path) -> None:
    """Refuses to join parts some of which are not there."""
    expected: int | None = 0
    for record in records:
        if record.first != expected:
            break
        expected = record.end
    if expected is not None:
        raise UserError(f"parts of {output.name} are gone: was it made by another run meanwhile?")


def torn_at(records: Sequence[Record]) -> int | None:
    """The first part that does not begin where those before it say that it should."""
    expected: str | None = None
    known = False
    for record in records:
        first = record.begins if record.begins is not None else record.until
        if known and first != expected:
            return record.first
        expected, known = record.until, True
    return None
