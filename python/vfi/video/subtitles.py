"""Subtitles that are text, in the form that a file takes."""

import io
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from vfi.errors import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from av import Packet
    from av.container import OutputContainer
    from av.subtitles.codeccontext import SubtitleCodecContext
    from av.subtitles.stream import SubtitleStream

_TEXTS = ("subrip", "ass", "ssa", "webvtt", "mov_text", "text")
_TAKEN = {"mp4": "mov_text", "mov": "mov_text", "ipod": "mov_text", "webm": "webvtt", "matroska": "srt"}


class Texts:
    """A stream of the output in its own form of text; `made_of` gives its packets."""

    def __init__(self, source: "SubtitleStream", output: "OutputContainer") -> None:
        """
        Raises:
            ValueError, av.FFmpegError: if these cannot be read as text.
        """
        self._from = source.codec_context
        self._from.open(strict=False)
        self.target = cast("SubtitleStream", output.add_stream(_TAKEN[output.format.name]))
        self._to: SubtitleCodecContext = self.target.codec_context
        self._to.subtitle_header, self._to.time_base = self._from.subtitle_header, Fraction(1, 1000)

    def made_of(self, packet: "Packet[SubtitleStream]") -> "Packet[SubtitleStream] | None":
        """With the same times; None: there is no text in it."""
        read = self._from.decode2(packet)
        if read is None:
            return None
        made = self._to.encode_subtitle(read)
        made.pts, made.dts, made.duration, made.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
        return cast("Packet[SubtitleStream]", made)


def convertible(
    source: "SubtitleStream", output: "OutputContainer", packets: "Sequence[Packet[SubtitleStream]]"
) -> bool:
    """Whether `Texts` can be made of these in such a file: tried with the first packets on a file in memory."""
    context, kind = source.codec_context, output.format.name
    if context is None or kind not in _TAKEN or context.codec.canonical_name not in _TEXTS:
        return False
    av = require("av")
    try:
        with av.open(io.BytesIO(), "w", format=kind) as trial:
            texts = Texts(source, trial)
            for packet in packets[:8]:
                made = texts.made_of(packet)
                if made is not None:
                    made.stream = texts.target
                    trial.mux(made)
    except (ValueError, av.FFmpegError):
        return False
    return True
