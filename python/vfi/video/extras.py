"""What travels with a video beside picture and sound: title and tags, chapters, attached files, timecode, cover."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from vfi.errors import require
from vfi.video.av_common import counted, files_of
from vfi.video.demux import COVER
from vfi.video.timecode import HOLD_TIMECODE, moved, timecode_of

if TYPE_CHECKING:
    from av import Packet, VideoStream
    from av.container import InputContainer, OutputContainer
    from av.container.core import Chapter
    from av.subtitles.stream import SubtitleStream

    from vfi.video.demux import Demuxer

_WITH_CHAPTERS = ("mp4", "mov", "ipod", "matroska", "webm")
_WITHOUT_TAGS = ("mpeg", "svcd", "gif", "mxf", "mpegts")
# Of the file itself, not of the film.
_OWN_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration", "creation_time", "timecode")
# What a cover may be coded as, and how such files are called.
_COVERS = {"mjpeg": "image/jpeg", "png": "image/png", "bmp": "image/bmp"}
_DISCARDED = 48  # AVDISCARD_ALL


@dataclass(frozen=True)
class Span:
    """The part of a source that is written: from `begin` to `end` on its clock, in seconds, `slower` times slower."""

    begin: Fraction
    end: Fraction | None = None
    slower: Fraction = Fraction(1)


class Extras:
    """Copies them, before the header is written; `notices` say what the output does not take."""

    def __init__(self, demuxer: "Demuxer", output: "OutputContainer", span: Span, rate: Fraction) -> None:
        """rate: of the output, frames per second."""
        self._output, self._kind, self._files = output, output.format.name, files_of(output)
        self._covers: list[tuple[VideoStream, bytes]] = []
        source = demuxer.container
        self.notices = [*self._tags(source), *self._chapters(source, span), *self._attached(source)]
        self.notices += [*self._timecode(demuxer, span, rate), *self._pictures(demuxer), *self._data(source)]

    def first_packets(self) -> "Iterator[Packet[VideoStream]]":
        """To be muxed before all others."""
        while self._covers:
            stream, data = self._covers.pop()
            packet = require("av").Packet(data)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
            packet.time_base = Fraction(1, 1000)
            yield packet

    def _tags(self, source: "InputContainer") -> Iterator[str]:
        tags = {key: value for key, value in source.metadata.items() if key.lower() not in _OWN_TAGS}
        if source.format.name == "mxf":
            return  # all are of the file itself
        if self._kind not in _WITHOUT_TAGS:
            self._output.metadata.update(tags)
        elif tags:
            named = ", ".join(sorted(tags)[:5])
            yield f"the title and other tags ({named}) are left out: {self._files} hold none"

    def _chapters(self, source: "InputContainer", span: Span) -> Iterator[str]:
        chapters = source.chapters()
        if chapters and self._kind in _WITH_CHAPTERS:
            self._output.set_chapters(list(_moved(chapters, span)))
        elif chapters:
            yield f"{counted(len(chapters), 'chapter')} left out: {self._files} hold none"

    def _attached(self, source: "InputContainer") -> Iterator[str]:
        attached = source.streams.attachments
        if attached and self._kind == "matroska":
            for file in attached:
                kind = file.mimetype or "application/octet-stream"
                self._output.add_attachment(file.name or "attachment", kind, file.data or b"")
        elif attached:
            yield f"{counted(len(attached), 'attached file')} left out: {self._files} hold none"

    def _timecode(self, demuxer: "Demuxer", span: Span, rate: Fraction) -> Iterator[str]:
        timecode = timecode_of(demuxer.container)
        if timecode is None:
            return
        own = demuxer.video.average_rate or demuxer.video.guessed_rate or rate
        begin = span.begin - (demuxer.video.start_time or 0) * (demuxer.video.time_base or Fraction(1))
        begun = moved(timecode, own, max(Fraction(0), begin), rate)
        if self._kind in HOLD_TIMECODE:
            self._output.streams.video[0].metadata["timecode"] = begun
        elif timecode.strip("0:;."):  # some programs write zeros where they know none
            yield f"the timecode {timecode} is left out: {self._files} hold none"

    def _pictures(self, demuxer: "Demuxer") -> Iterator[str]:
        """Covers, and what other videos there are."""
        others = [video for video in demuxer.container.streams.video if video.index != demuxer.video.index]
        covers = [video for video in others if video.disposition & COVER]
        for cover in covers:
            data, codec = demuxer.covers.get(cover.index), cover.codec_context and cover.codec_context.name
            kind = _COVERS.get(codec or "")
            if data is not None and kind is not None and self._kind == "matroska":
                self._output.add_attachment(f"cover.{kind[6:].replace('jpeg', 'jpg')}", kind, data)
            elif data is not None and kind is not None and self._kind == "mp4":
                stream = self._output.add_stream_from_template(cover)
                stream.disposition = cover.disposition
                self._covers.append((stream, data))
            else:
                yield f"the cover is left out: {self._files} hold none, or not as {codec}"
        if len(others) > len(covers):
            yield f"{counted(len(others) - len(covers), 'other video')} in the file left out: the first one is taken"

    def _data(self, source: "InputContainer") -> Iterator[str]:
        """Timecodes are told apart, and FFmpeg leaves out texts of chapters itself."""
        left = [stream for stream in source.streams.data if "timecode" not in stream.metadata]
        left = [stream for stream in left if int(stream.discard) < _DISCARDED]
        if left:
            yield f"{counted(len(left), 'stream')} of data left out"


def is_chapter_text(stream: "SubtitleStream") -> bool:
    """Whether these are no subtitles but the titles of chapters, of MP4 and MOV: as many, or one more for a gap."""
    context, count = stream.codec_context, len(stream.container.chapters())
    return context is not None and context.codec_tag == "text" and count > 0 and 0 <= stream.frames - count <= 1


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
