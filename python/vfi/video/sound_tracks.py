"""How a track of sound can be written to a file: found out by trying, before the first frame is rendered."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vfi.errors import ArgumentError, require
from vfi.video.av_common import files_of

if TYPE_CHECKING:
    from av import AudioStream, Packet
    from av.container import OutputContainer
    from av.subtitles.stream import SubtitleStream

_LOSSLESS = ("flac", "alac", "truehd", "mlp", "wavpack", "tta", "ape", "mp4als")
# Encoders by what people call them; FFmpeg's own of some are experimental.
_NAMES = {"opus": "libopus", "vorbis": "libopus", "mp3": "libmp3lame", "pcm": "pcm_s16le"}
# What players of these files expect first; then any other.
_USUAL = {
    "avi": ("libmp3lame", "ac3"),
    "webm": ("libopus",),
    "mpeg": ("mp2", "ac3"),
    "svcd": ("mp2", "ac3"),
    "mxf": ("pcm_s16le",),
}
_OTHERS = ("aac", "ac3", "libmp3lame", "libopus", "mp2", "flac", "pcm_s16le")
# What transport streams hold, of which FFmpeg gives a list that is not whole, and takes all else as private data.
_IN_TRANSPORT = ("aac", "ac3", "eac3", "dts", "truehd", "mp2", "mp3", "opus")
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


@dataclass(frozen=True)
class Sound:
    """What is to become of the sound.

    codec: None: copied where the file takes it, else encoded; "copy": copied or left out; or an encoder.
    tracks: their numbers from 1; None: all. stretch: as slow as the picture, at its own pitch; otherwise there is none
    where the speed changes.
    """

    keep: bool = True
    stretch: bool = False
    codec: str | None = None
    tracks: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Way:
    """How a track is written. encoder: None: its packets are copied."""

    encoder: str | None = None
    rate: int = 0
    layout: str = ""


def way_for(
    stream: "AudioStream",
    container: "OutputContainer",
    packets: "Sequence[Packet[AudioStream]]",
    codec: str | None,
    *,
    changed: bool = False,
) -> Way | str:
    """How the track can be written; else why it cannot, in words.

    Args:
        packets: the first ones of the track.
        codec: as in `Sound`. changed: it is not to stay as it is.
    """
    context = stream.codec_context
    if codec in (None, "copy") and not changed and takes(stream, container, packets):
        return Way()
    if codec == "copy":
        return f"{files_of(container)} do not take {name_of(stream)} as it is"
    if context is None:
        return "its codec is unknown"
    if not context.sample_rate or not context.layout.nb_channels:
        return "it does not say its sample rate or channels"
    if container.default_audio_codec == "none":
        return f"{files_of(container)} hold no sound"
    encoders = [_NAMES.get(codec, codec)] if codec else _encoders(stream, container)
    for encoder in encoders:
        for layout in _layouts(stream):
            for rate in _rates(encoder, context.sample_rate):
                if _opens(container, encoder, rate, layout):
                    return Way(encoder, rate, layout)
    return f"the output cannot hold it as {', '.join(encoders[:3])}"


def check_codec(codec: str | None) -> None:
    """Refuses a name that is no encoder of sound."""
    if codec is None or codec == "copy":
        return
    try:
        kind = require("av").Codec(_NAMES.get(codec, codec), "w").type
    except ValueError:
        kind = None
    if kind != "audio":
        raise ArgumentError(
            f"`audio`: {codec!r} is no encoder of sound; try copy, aac, opus, mp3, ac3, flac or pcm_s16le"
        )


def name_of(stream: "AudioStream | SubtitleStream") -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else "an unknown codec"


def plain_layout(stream: "AudioStream") -> str:
    """The channels' layout; of a track that does not tell it, the usual one of so many channels."""
    layout = stream.codec_context.layout
    usual = _LAYOUTS.get(layout.nb_channels, f"{layout.nb_channels}c")
    return usual if "channels" in layout.name or not layout.name else str(layout.name)


def takes(
    stream: "AudioStream | SubtitleStream", container: "OutputContainer", packets: "Sequence[Packet[AudioStream]]"
) -> bool:
    """Whether the output's format takes the track as it is: tried on a file in memory, for the list of codecs is
    not the whole truth (MP4 takes MP3, but not of 8 kHz, and PCM, but not without a layout, which shows at the end)."""
    if stream.codec_context is None or not _lists(container, name_of(stream)):
        return False
    av = require("av")
    try:
        with av.open(io.BytesIO(), "w", format=container.format.name) as trial:
            target = trial.add_stream_from_template(stream)
            for packet in packets[:8]:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
                copy.time_base, copy.stream = packet.time_base, target
                trial.mux(copy)
            trial.start_encoding()  # of a track without packets as yet, which may not even tell its sample rate
    except (ValueError, av.FFmpegError):
        return False
    return True


def _lists(container: "OutputContainer", codec: str) -> bool:
    return codec in (_IN_TRANSPORT if container.format.name == "mpegts" else container.supported_codecs)


def _encoders(stream: "AudioStream", container: "OutputContainer") -> list[str]:
    name = name_of(stream)
    exact = ["flac", "pcm_s16le"] if name in _LOSSLESS or name.startswith("pcm_") else []
    return list(dict.fromkeys([*exact, *_USUAL.get(container.format.name, ()), *_OTHERS]))


def _layouts(stream: "AudioStream") -> Iterator[str]:
    own = plain_layout(stream)
    yield own
    usual = [_LAYOUTS.get(stream.codec_context.layout.nb_channels, "7.1"), "5.1", "stereo", "mono"]
    yield from (layout for layout in dict.fromkeys(usual) if layout != own)


def _rates(encoder: str, rate: int) -> list[int]:
    """The rate itself where the encoder takes it, else the nearest above, else the nearest below."""
    try:
        known = require("av").Codec(encoder, "w").audio_rates
    except ValueError:
        return []
    if not known:
        return [rate, 48_000]
    return [min(known, key=lambda other: (other < rate, abs(other - rate)))]


def _opens(container: "OutputContainer", encoder: str, rate: int, layout: str) -> bool:
    """Whether the output's format takes sound of this encoder; tried as the copy is."""
    av = require("av")
    trial = av.open(io.BytesIO(), "w", format=container.format.name)
    if container.format.name == "mxf":  # which holds no sound alone
        picture = trial.add_stream("mpeg2video", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
    try:
        target = trial.add_stream(encoder, rate=rate, layout=layout)
        if not _lists(container, target.codec_context.codec.canonical_name):
            return False
        trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    finally:
        with contextlib.suppress(av.FFmpegError, ValueError):
            trial.close()
    return True
