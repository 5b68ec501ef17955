"""Sound of a video, carried over to another: copied where the container takes its codec, else encoded again."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vfi.errors import UserError, require
from vfi.video.av_common import open_input, reading

if TYPE_CHECKING:
    from av import AudioFrame, AudioResampler, AudioStream, Packet
    from av.container import OutputContainer

# Encoders to use in place of FFmpeg's own experimental ones.
_ENCODERS = {"opus": "libopus", "vorbis": "libopus", "mp3": "libmp3lame"}


@dataclass
class _Track:
    source: "AudioStream"
    target: "AudioStream"
    # None: packets are copied.
    resampler: "AudioResampler | None" = None


class AudioTransfer:
    """All sound tracks of `source`, from `begin` to `end` on its clock (seconds); `begin` becomes 0."""

    def __init__(self, source: Path, output: "OutputContainer", begin: Fraction, end: Fraction | None) -> None:
        self.notices: list[str] = []
        self._begin, self._end = begin, end
        self._source, self._output = source, output
        with reading(source):
            self._container = open_input(source)
        # These files can hide sound before 0 that decoders need for what follows; elsewhere it would delay the picture.
        self._hides_lead = output.format.name in ("mp4", "mov", "ipod")
        self._tracks = {}
        for stream in self._container.streams.audio:
            track = self._track(stream)
            if track is not None:
                self._tracks[stream.index] = track
        self._packets = self._timed_packets()
        self._waiting: tuple[Fraction, Packet[AudioStream]] | None = next(self._packets, None)

    def pump(self, until: Fraction | None = None) -> None:
        """Writes the sound before `until` (on the output's clock), or all that is left."""
        while self._waiting is not None and (until is None or self._waiting[0] - self._begin < until):
            time, packet = self._waiting
            if self._kept(time, packet):
                self._write(packet)
            self._waiting = next(self._packets, None)

    def stop_at(self, time: Fraction) -> None:
        """Leaves out the sound after `time` on the output's clock."""
        self._end = self._begin + time

    def finish(self) -> None:
        """Writes what is left, encoders' remainders included."""
        self.pump()
        for track in self._tracks.values():
            if track.resampler is not None:
                self._encode(track, None)
                self._output.mux(track.target.encode(None))

    def close(self) -> None:
        self._container.close()

    def _track(self, stream: "AudioStream") -> _Track | None:
        """The output's track for a source track, or None, with a notice, if its sound cannot be kept."""
        codec = stream.codec_context.codec if stream.codec_context is not None else None
        name = codec.canonical_name if codec is not None else None
        if self._takes(stream, name):
            target = self._output.add_stream_from_template(stream)
            target.metadata.update(stream.metadata)
            return _Track(stream, target)
        encoder = _ENCODERS.get(self._output.default_audio_codec, self._output.default_audio_codec)
        if codec is None or encoder == "none" or not stream.codec_context.sample_rate:
            reason = "it cannot be read" if codec is None or encoder != "none" else "the output cannot hold it"
            self.notices.append(f"the sound is left out: {reason}")
            return None
        try:
            rate = stream.codec_context.sample_rate
            # Opus knows 48 kHz and its halves only.
            made = self._output.add_stream(encoder, rate=48000 if encoder == "libopus" else rate)
            target = cast("AudioStream", made)
            target.codec_context.layout = stream.codec_context.layout
            target.metadata.update(stream.metadata)
        except (ValueError, require("av").FFmpegError) as error:
            raise UserError(f"the sound ({name}) cannot be encoded as {encoder}: {error}") from error
        self.notices.append(f"the sound is encoded again, from {name} to {encoder}")
        context = target.codec_context
        resampler = require("av").AudioResampler(format=context.format, layout=context.layout, rate=context.sample_rate)
        return _Track(stream, target, resampler)

    def _takes(self, stream: "AudioStream", codec: str | None) -> bool:
        """Whether the output's format takes the track as it is: tried on a file in memory, for the list of codecs is
        not the whole truth (MP4 takes MP3, but not of 8 kHz)."""
        if codec not in self._output.supported_codecs:
            return False
        av = require("av")
        try:
            with av.open(io.BytesIO(), "w", format=self._output.format.name) as trial:
                trial.add_stream_from_template(stream)
                trial.start_encoding()
        except (ValueError, av.FFmpegError):
            return False
        return True

    def _timed_packets(self) -> "Iterator[tuple[Fraction, Packet[AudioStream]]]":
        if not self._tracks:
            return
        sources = [track.source for track in self._tracks.values()]
        with reading(self._source):
            if self._begin > 1:
                # What is before is not needed; a file that cannot be searched is read from its beginning.
                with contextlib.suppress(require("av").FFmpegError):
                    self._container.seek(round((self._begin - 1) * 1_000_000))
            for packet in cast("Iterator[Packet[AudioStream]]", self._container.demux(sources)):
                if packet.pts is not None and packet.size:
                    yield packet.pts * packet.time_base, packet

    def _kept(self, time: Fraction, packet: "Packet[AudioStream]") -> bool:
        """Whether a packet lies between begin and end, or is the one before that decoders start from."""
        if self._end is not None and time >= self._end:
            return False
        encoded_again = self._tracks[packet.stream.index].resampler is not None
        lead = Fraction(0)
        if self._hides_lead or encoded_again:
            lead = 2 * (packet.duration or 0) * packet.time_base
        return time >= self._begin or time + lead > self._begin

    def _write(self, packet: "Packet[AudioStream]") -> None:
        track = self._tracks[packet.stream.index]
        if track.resampler is not None:
            av = require("av")
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                return
            for frame in frames:
                self._encode(track, frame)
            return
        shift = round(self._begin / packet.time_base)
        packet.pts = (packet.pts or 0) - shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        packet.stream = track.target
        self._output.mux(packet)

    def _encode(self, track: _Track, frame: "AudioFrame | None") -> None:
        """Encodes a decoded frame; None empties the resampler."""
        assert track.resampler is not None
        if frame is not None and frame.pts is not None and frame.time_base is not None:
            if frame.pts * frame.time_base < self._begin:
                return
            frame.pts -= round(self._begin / frame.time_base)
        for resampled in track.resampler.resample(frame):
            self._output.mux(track.target.encode(resampled))
