"""What tracks are called: their language, their title, and which of them is played unless another is chosen."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vfi.video.av_common import files_of

if TYPE_CHECKING:
    from av import AudioStream
    from av.container import OutputContainer
    from av.subtitles.stream import SubtitleStream

_DEFAULT = 1  # AV_DISPOSITION_DEFAULT
# Formats of files that hold them.
_LANGUAGES = ("mp4", "mov", "ipod", "matroska", "webm", "mpegts")
_TITLES = ("mp4", "mov", "matroska", "webm", "avi")
_DEFAULTS = ("mp4", "mov", "ipod", "matroska", "webm")
# MOV has numbers for languages, which FFmpeg knows by their older names of three letters.
_OLDER = {
    "deu": "ger", "fra": "fre", "nld": "dut", "ell": "gre", "ces": "cze", "zho": "chi", "isl": "ice", "fas": "per",
    "ron": "rum", "slk": "slo", "sqi": "alb", "hye": "arm", "eus": "baq", "mya": "bur", "kat": "geo", "mkd": "mac",
    "msa": "may", "bod": "tib", "cym": "wel", "swe": "sve", "hrv": "hr ", "mlt": "mlt",
}  # fmt: skip


def title_of(stream: "AudioStream | SubtitleStream") -> str | None:
    """MP4 calls it a name."""
    return stream.metadata.get("title") or stream.metadata.get("name")


def named(stream: "AudioStream | SubtitleStream", kind: str) -> dict[str, str]:
    """What is said of the track, as files of this format say it."""
    metadata, title = dict(stream.metadata), title_of(stream)
    language = metadata.get("language", "und")
    if kind == "mov":
        metadata["language"] = _OLDER.get(language, language)
    return {**metadata, **({} if title is None else {"title": title})}


def unnamed(tracks: "Sequence[tuple[AudioStream | SubtitleStream, int]]", output: "OutputContainer") -> Iterator[str]:
    """What such files do not say of these tracks, which have numbers, in words."""
    kind, files = output.format.name, files_of(output)
    titles = [title for stream, _ in tracks if (title := title_of(stream))]
    if titles and kind not in _TITLES:
        yield f"the titles of tracks ({', '.join(titles)}) are left out: {files} hold none"
    languages = dict.fromkeys(stream.language for stream, _ in tracks if stream.language not in (None, "und"))
    if languages and kind not in _LANGUAGES:
        yield f"the languages of tracks ({', '.join(map(str, languages))}) are left out: {files} hold none"
    if kind in _DEFAULTS:
        return
    for stream, number in tracks:
        if number > 1 and stream.disposition & _DEFAULT:
            yield f"that track {number} is the default one is left out: {files} do not say it"
