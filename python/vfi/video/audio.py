"""Sound and subtitles of a video, carried over: sound is copied where the container takes its codec, else encoded."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from vfi.errors import ArgumentError, require
from vfi.video.av_common import counted, files_of, sentence
from vfi.video.extras import Span, is_chapter_text
from vfi.video.samples import silence, with_layout
from vfi.video.sound_tracks import Sound, Way, check_codec, name_of, plain_layout, takes, way_for
from vfi.video.stretched import Stretched
from vfi.video.subtitles import Texts, convertible
from vfi.video.track_names import named, unnamed

if TYPE_CHECKING:
    from av import AudioFrame, AudioResampler, AudioStream, Packet
    from av.container import OutputContainer
    from av.subtitles.stream import SubtitleStream

    from vfi.video.demux import Demuxer

# Seconds of silence are put where sound is missing for longer than this; what is shorter is rounding.
_GAP = Fraction(1, 10)
# Seconds: what lies further behind all else has a wrong time.
_STRAY = 600


@dataclass
class _Track:
    number: int
    source: "AudioStream"  # or subtitles, of which the same is asked while they are copied
    target: "AudioStream"
    resampler: "AudioResampler | None" = None  # None: packets are copied
    last: int | None = None  # dts of the last packet copied
    samples: int | None = None  # written so far, at the source's rate
    damaged: int = 0
    kind: str = "sound track"
    cut: str | None = None  # why nothing more of it is written
    stretched: "Stretched | None" = None
    texts: "Texts | None" = None


class AudioTransfer:
    """Sound tracks and subtitles of a part of a file, whose beginning becomes 0.

    How each track is written is decided here, before the first frame: `notices` says what is not copied. Packets come
    from the queues of the demuxer, which fill while its pictures are read.
    """

    def __init__(self, demuxer: "Demuxer", output: "OutputContainer", span: Span, sound: Sound) -> None:
        self.notices: list[str] = []
        self._demuxer, self._output = demuxer, output
        self._begin, self._end, self._slower = span.begin, span.end, span.slower
        # These files can hide sound before 0 that decoders need for what follows; elsewhere it would delay the picture.
        self._hides_lead = output.format.name in ("mp4", "mov", "ipod")
        self._tracks: dict[int, _Track] = {}
        self._stretch = sound.stretch and span.slower != 1
        self._seen = span.begin  # how far picture and sound have come, on the source's clock
        for number, stream in _chosen(demuxer, sound):
            self._add(number, stream, sound.codec)
        if output.format.name == "flv" and len(self._tracks) > 1:
            self.notices.append(f"of the {len(self._tracks)} sound tracks most players of {files_of(output)} know one")
        texts = (texts for texts in demuxer.container.streams.subtitles if not is_chapter_text(texts))
        for number, subtitles in enumerate(texts, 1):
            self._add_subtitles(number, subtitles)
        self.notices += unnamed([(track.source, track.number) for track in self._tracks.values()], output)
        demuxer.keep_sound(self._tracks)

    def pump(self, until: Fraction | None = None) -> None:
        """Writes the sound before `until` (on the output's clock), or all that was read."""
        if until is not None:
            self._seen = max(self._seen, self._begin + until / self._slower)
        while True:
            queues = [self._demuxer.sound[index] for index in self._tracks]
            queue = min((queue for queue in queues if queue), key=lambda queue: queue[0][0], default=None)
            if queue is None or (until is not None and (queue[0][0] - self._begin) * self._slower >= until):
                return
            time, packet = queue.popleft()
            track = self._tracks[packet.stream_index]
            if track.cut is None and time > self._seen + _STRAY:
                seconds = float((self._seen - self._begin) * self._slower)
                track.cut = f"{seconds:.2f} seconds (what follows says it is {float(time - self._seen):.0f} later)"
            if track.cut is None and self._kept(track, time, packet):
                self._seen = max(self._seen, time)
                self._write(track, time, packet)

    def read_until(self, time: Fraction) -> None:
        """Reads the source up to `time` on the output's clock and writes its sound: where nobody reads its pictures."""
        while self._tracks and (self._demuxer.reached - self._begin) * self._slower < time:
            if not self._demuxer.next_packet():
                break
        self.pump(time)

    def stop_at(self, time: Fraction) -> None:
        """Leaves out the sound after `time` on the output's clock."""
        self._end = self._begin + time / self._slower

    def finish(self) -> None:
        """Writes what is left, encoders' remainders included."""
        self.pump()
        while self._tracks and not self._past_end() and self._demuxer.next_packet():
            self.pump()
        for track in self._tracks.values():
            if track.resampler is not None and track.cut is None:
                with self._cutting(track):
                    for frame in track.source.codec_context.decode(None):
                        self._place(track, self._begin, frame)
                    self._encode(track, None)
                    self._output.mux(track.target.encode(None))

    def summary(self) -> list[str]:
        """What went wrong with the sound, a sentence each."""
        said = []
        for track in self._tracks.values():
            if track.damaged:
                said.append(f"{counted(track.damaged, 'damaged packet')} of {track.kind} {track.number} left out")
            if track.cut is not None:
                said.append(f"{track.kind} {track.number} is cut off at {track.cut}")
        return said

    def _past_end(self) -> bool:
        """Whether all has been read that is wanted; sound may lie a little behind the picture in a file."""
        return self._end is not None and self._demuxer.reached > self._end + 10

    def _add(self, number: int, stream: "AudioStream", codec: str | None) -> None:
        queue = self._demuxer.sound.get(stream.index, ())
        way = way_for(stream, self._output, [packet for _, packet in queue], codec, changed=self._stretch)
        if isinstance(way, str):
            self.notices.append(f"the sound is left out: track {number} ({name_of(stream)}): {way}")
            return
        if way.encoder is None:
            target = self._output.add_stream_from_template(stream)
        else:
            target = cast("AudioStream", self._output.add_stream(way.encoder, rate=way.rate, layout=way.layout))
            which = f" (track {number})" if len(self._demuxer.audio) > 1 else ""
            said = f"the sound{which} is encoded again, from {name_of(stream)} to {way.encoder}"
            if self._stretch:
                said += f", {float(self._slower):g} times as long at the same pitch"
            if way.rate != stream.codec_context.sample_rate:
                said += f", {stream.codec_context.sample_rate} Hz become {way.rate}"
            if way.layout != plain_layout(stream):
                said += f", {plain_layout(stream)} becomes {way.layout}"
            self.notices.append(said)
        self._name(stream, target)
        track = _Track(number, stream, target, self._resampler(stream, target, way))
        track.stretched = Stretched(self._slower) if self._stretch else None
        self._tracks[stream.index] = track

    def _add_subtitles(self, number: int, stream: "SubtitleStream") -> None:
        queue = self._demuxer.sound.get(stream.index, ())
        packets, texts = [packet for _, packet in queue], None
        if takes(stream, self._output, packets):
            target = self._output.add_stream_from_template(stream)
        elif convertible(stream, self._output, cast("list[Packet[SubtitleStream]]", packets)):
            texts = Texts(stream, self._output)
            target = texts.target
            into = target.codec_context.codec.canonical_name
            self.notices.append(f"the subtitles (track {number}) become {into}, from {name_of(stream)}: the text stays")
        else:
            files = f"{files_of(self._output)} do not take {name_of(stream)}"
            self.notices.append(f"the subtitles (track {number}) are left out: {files}")
            return
        self._name(stream, target)
        both = cast("AudioStream", stream), cast("AudioStream", target)
        self._tracks[stream.index] = _Track(number, *both, kind="subtitles", texts=texts)

    def _name(self, stream: "AudioStream | SubtitleStream", target: "AudioStream | SubtitleStream") -> None:
        target.metadata.update(named(stream, self._output.format.name))
        target.disposition = stream.disposition

    def _resampler(self, stream: "AudioStream", target: "AudioStream", way: Way) -> "AudioResampler | None":
        if way.encoder is None:
            return None
        context = target.codec_context
        resampler: AudioResampler = require("av").AudioResampler(
            format=context.format, layout=context.layout, rate=context.sample_rate
        )
        return resampler

    def _kept(self, track: _Track, time: Fraction, packet: "Packet[AudioStream]") -> bool:
        """Whether a packet lies between begin and end, or is the one before that decoders start from."""
        if self._end is not None and time >= self._end:
            return False
        lead = Fraction(0)
        if track.kind == "subtitles":
            lead = (packet.duration or 0) * packet.time_base
        elif self._hides_lead or track.resampler is not None:
            lead = 2 * (packet.duration or 0) * packet.time_base
        return time >= self._begin or time + lead > self._begin

    def _write(self, track: _Track, time: Fraction, packet: "Packet[AudioStream]") -> None:
        if track.resampler is None:
            try:
                made = packet if track.texts is None else track.texts.made_of(cast("Packet[SubtitleStream]", packet))
                if made is not None:
                    self._copy(track, cast("Packet[AudioStream]", made))
            except _faults() as error:
                _raise_if_of_system(error)
                track.damaged += 1
            return
        try:
            frames = packet.decode()
        except _faults():
            track.damaged += 1
            return
        for frame in frames:
            with self._cutting(track):
                self._place(track, time, frame)
            time += Fraction(frame.samples, frame.sample_rate)

    def _copy(self, track: _Track, packet: "Packet[AudioStream]") -> None:
        shift = self._begin / packet.time_base
        packet.pts = round(((packet.pts or 0) - shift) * self._slower)
        packet.dts = packet.pts if packet.dts is None else round((packet.dts - shift) * self._slower)
        if track.kind == "subtitles":
            packet.duration = max(0, round((packet.duration or 0) * self._slower) + min(packet.pts, 0))
            packet.pts, packet.dts = max(packet.pts, 0), max(packet.dts, 0)
            if self._end is not None:
                left = round((self._end - self._begin) * self._slower / packet.time_base) - packet.pts
                packet.duration = min(packet.duration, max(left, 0))
        if track.last is not None and packet.dts <= track.last:
            packet.dts = track.last + 1
            packet.pts = max(packet.pts, packet.dts)
        track.last = packet.dts
        packet.stream = track.target
        self._output.mux(packet)

    def _place(self, track: _Track, time: Fraction, frame: "AudioFrame") -> None:
        """Encodes a decoded frame at its time: silence where nothing is for long, else close to what was before."""
        if frame.pts is not None and frame.time_base is not None and abs(frame.pts * frame.time_base - time) < _STRAY:
            time = frame.pts * frame.time_base
        if time < self._begin:
            return
        rate = frame.sample_rate
        place = round((time - self._begin) * rate)
        gap = place - (track.samples or 0)
        if gap > _GAP * rate:
            for piece in silence(frame, gap):
                self._encode(track, piece)
        elif track.samples is None:
            track.samples = place
        self._encode(track, frame)

    def _encode(self, track: _Track, frame: "AudioFrame | None") -> None:
        """None empties the resampler."""
        assert track.resampler is not None
        if frame is not None:
            track.samples = track.samples or 0
            frame = with_layout(frame, plain_layout(track.source))
            frame.pts, frame.time_base = track.samples, Fraction(1, frame.sample_rate)
            track.samples += frame.samples
        for ready in [frame] if track.stretched is None else [*track.stretched.push(frame), *([] if frame else [None])]:
            for resampled in track.resampler.resample(ready):
                self._output.mux(track.target.encode(resampled))

    @contextmanager
    def _cutting(self, track: _Track) -> Iterator[None]:
        """A track that cannot go on ends there; the video does not. What the system refuses ends both."""
        try:
            yield
        except _faults() as error:
            _raise_if_of_system(error)
            seconds = Fraction(track.samples or 0, track.source.codec_context.sample_rate)
            track.cut = f"{float(seconds):.2f} seconds ({sentence(error)})"


def _faults() -> tuple[type[Exception], ...]:
    return require("av").FFmpegError, ValueError


def _raise_if_of_system(error: Exception) -> None:
    """No room on the disk, and the like, are no fault of the sound."""
    if isinstance(error, (OSError, MemoryError)):
        raise error


def _chosen(demuxer: "Demuxer", sound: Sound) -> "list[tuple[int, AudioStream]]":
    check_codec(sound.codec)
    tracks = dict(enumerate(demuxer.audio, 1)) if sound.keep else {}
    missing = [str(number) for number in sound.tracks or () if number not in tracks]
    if missing:
        raise ArgumentError(f"`tracks`: {demuxer.path} has no sound track {', '.join(missing)}; it has {len(tracks)}")
    return [(number, stream) for number, stream in tracks.items() if sound.tracks is None or number in sound.tracks]
