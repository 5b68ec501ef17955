"""What travels with a video beside picture and sound: title and tags, chapters, attached files."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.container.core import Chapter

_WITH_CHAPTERS = ("mp4", "mov", "ipod", "matroska", "webm")
_WITHOUT_TAGS = ("mpeg", "svcd", "gif", "mxf")
# Of the file itself, not of the film.
_OWN_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration", "creation_time")


@dataclass(frozen=True)
class Span:
    """The part of a source that is written: from `begin` to `end` on its clock, in seconds, `slower` times slower."""

    begin: Fraction
    end: Fraction | None = None
    slower: Fraction = Fraction(1)


def carry_over(source: "InputContainer", output: "OutputContainer", span: Span) -> Iterator[str]:
    """Copies them, before the header is written; says what the output does not take."""
    kind = output.format.name
    tags = {key: value for key, value in source.metadata.items() if key.lower() not in _OWN_TAGS}
    if kind not in _WITHOUT_TAGS:
        output.metadata.update(tags)
    elif tags:
        yield f"the title and other tags ({', '.join(sorted(tags)[:5])}) are left out: {kind} files hold none"
    chapters = source.chapters()
    if chapters and kind in _WITH_CHAPTERS:
        output.set_chapters(list(_moved(chapters, span)))
    elif chapters:
        yield f"chapters left out: {len(chapters)}; {kind} files hold none"
    attached = source.streams.attachments
    if attached and kind == "matroska":
        for file in attached:
            output.add_attachment(
                file.name or "attachment", file.mimetype or "application/octet-stream", file.data or b""
            )
    elif attached:
        yield f"attachments left out: {len(attached)}; {kind} files hold none"
    if source.streams.data:
        yield f"streams of data, such as timecode, left out: {len(source.streams.data)}"


def _moved(chapters: "list[Chapter]", span: Span) -> "Iterator[Chapter]":
    """The chapters of the part that is written, in milliseconds of the output."""
    for chapter in chapters:
        base = chapter["time_base"] or Fraction(1)
        ends = chapter["start"], chapter["end"]
        times = [(Fraction(stamp) * base - span.begin) * span.slower * 1000 for stamp in ends]
        last = None if span.end is None else (span.end - span.begin) * span.slower * 1000
        start, end = max(Fraction(0), times[0]), times[1] if last is None else min(times[1], last)
        if end > start:
            moved = chapter.copy()
            moved["start"], moved["end"], moved["time_base"] = round(start), round(end), Fraction(1, 1000)
            yield moved
