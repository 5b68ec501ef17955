"""The packets of a file: those of its picture to be decoded, those of its sound kept for later, on one clock."""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from errno import EBADMSG
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vfi.errors import UserError, require
from vfi.files.places import RemoteFile, is_remote
from vfi.video.av_common import STREAM, name_of, open_input, sentence
from vfi.video.continuity import Continuity
from vfi.video.holes import Holes
from vfi.video.piped import Piped
from vfi.video.unreadable import DRAWN, INDEX_BEHIND, index_is_behind, no_video, not_opened

if TYPE_CHECKING:
    from av import AudioStream, Packet, VideoFrame, VideoStream
    from av.stream import Stream

# FFmpeg's flag of formats whose clock may jump: AVFMT_TS_DISCONT.
TS_DISCONT = 0x200
# Decoders of alpha that is data beside the packets; the usual ones pass it over.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
COVER = 0x400  # AV_DISPOSITION_ATTACHED_PIC
_TRANSPORT = (".ts", ".m2ts", ".mts", ".m2t")


class Demuxer:
    """Reads a file once, from its beginning or from where `seek` goes; `close` it at the end.

    `failure` says why the file could not be read to its end. `reached` is how far its streams go, of those read so far.
    `sound`: packets of sound and subtitles and their times, if they are wanted, until someone takes them. `covers`:
    pictures that are no video, as they are coded, by their stream's index. `encrypted`: a picture was, so far.
    """

    def __init__(self, path: Path, *, sound: bool = False) -> None:
        self.path = path
        self.failure: str | None = None
        self.encrypted = False
        self.reached = Fraction(0)
        self.sound: dict[int, deque[tuple[Fraction, Packet[AudioStream]]]] = {}
        self.covers: dict[int, bytes] = {}
        self._open()
        self.keep_sound(stream.index for stream in (*self.audio, *self.container.streams.subtitles) if sound)
        try:
            self.video = self._choose_stream()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        av = require("av")
        self._piped = Piped() if self.path == STREAM else None
        self._remote = RemoteFile(self.path) if is_remote(self.path) else None
        try:
            self.container = open_input(self._piped or self._remote or self.path)
        except (av.FFmpegError, OSError) as error:
            self._check_remote()
            if self.path.suffix.lower() not in _TRANSPORT:
                raise not_opened(self.path, error, b"" if self._piped is None else self._piped.head) from error
            try:  # of fewer than ten packets FFmpeg does not see what they are
                self.container = open_input(self._remote or self.path, "mpegts")
            except (av.FFmpegError, OSError):
                self._check_remote()
                raise not_opened(self.path, error) from error
        self._check_remote()  # what FFmpeg looks at before it opens a file may be missing
        if self.container.format.name in DRAWN:
            self.close()
            raise UserError(f"cannot read {name_of(self.path)} as a video: it is a text, or letters as a picture")
        self._start()

    def _check_remote(self) -> None:
        """Raises what went wrong elsewhere: FFmpeg takes it for the end of the file, or for damage that it skips."""
        if self._remote is not None:
            self._remote.check()

    def _start(self) -> None:
        self.continuity = Continuity(jumps=bool(self.container.format.flags & TS_DISCONT))
        self.holes = Holes(self._piped or self.path, self.container.format.name, self._chosen().index)
        self._packets = self._moved()
        self._again: list[Packet[VideoStream]] = []

    def _chosen(self) -> "VideoStream":
        videos = self.container.streams.video
        if not videos:
            kinds = [stream.type for stream in self.container.streams]
            self.close()
            raise no_video(self.path, kinds)
        # A cover picture, and the still one of an animation, are video streams too, but not the one that is meant.
        return min(videos, key=lambda v: (bool(v.disposition & COVER), v.frames == 1, v.codec_context is None))

    def _choose_stream(self) -> "VideoStream":
        stream = self._chosen()
        if stream.codec_context is None or stream.time_base is None:
            what = f"the codec of its video (stream {stream.index}) is unknown to FFmpeg here"
            raise UserError(f"cannot read {name_of(self.path)}: {what}; convert it with the program that made it")
        stream.thread_type = "AUTO"
        self.clock: Fraction = stream.time_base
        self._decoder = stream.codec_context
        if stream.metadata.get("alpha_mode") == "1" and self._decoder.codec.canonical_name in _WITH_ALPHA:
            name = _WITH_ALPHA[self._decoder.codec.canonical_name]
            self._decoder = require("av").CodecContext.create(name, "r")
        return stream

    def close(self) -> None:
        self.container.close()
        if self._remote is not None:
            self._remote.close()

    @property
    def audio(self) -> "tuple[AudioStream, ...]":
        return tuple(self.container.streams.audio)

    def keep_sound(self, indices: Iterable[int]) -> None:
        """From now on, the packets of these streams are queued in `sound`, each with its time."""
        self.sound = {index: deque(self.sound.get(index, ())) for index in indices}

    def pictures(self) -> "Iterator[Packet[VideoStream]]":
        """Packets of the video, and the empty one at the end that brings the decoder's last frames."""
        while self._again:
            yield self._again.pop(0)
        for packet in self._packets:
            if packet.stream.index == self.video.index:
                yield cast("Packet[VideoStream]", packet)

    def decode(self, packet: "Packet[VideoStream] | None") -> "list[VideoFrame]":
        """The frames that a packet brings; None: those at the end. An encrypted one, of which a decoder may make
        something without complaint, is a damaged one."""
        if packet is not None and packet.has_sidedata("encryption_info"):
            self.encrypted = True
            raise require("av").InvalidDataError(EBADMSG, "it is encrypted")
        return self._decoder.decode(packet)

    def next_packet(self) -> bool:
        """Reads one more packet, for its sound; False at the end of the file."""
        return next(self._packets, None) is not None

    def seek(self, time: Fraction) -> bool:
        """Goes to a keyframe at or before `time` on the file's clock; False where that cannot be."""
        if self.path == STREAM:
            return False
        if self.container.format.flags & TS_DISCONT:
            self.reopen()
            self._read_to(time)  # by its clock the same time may be there twice
            return True
        with contextlib.suppress(require("av").FFmpegError):
            self.container.seek(round(time / self.clock), stream=self.video)
            self._decoder.flush_buffers()
            self._forget()
            return True
        self._check_remote()
        return False

    def reopen(self) -> None:
        """From the beginning again."""
        self.close()
        self._open()
        self.video = self._choose_stream()
        self._forget()

    def _forget(self) -> None:
        for queue in self.sound.values():
            queue.clear()
        self._start()

    def _read_to(self, time: Fraction) -> None:
        """Leaves out packets up to the keyframe before `time`."""
        group: list[Packet[VideoStream]] = []
        for packet in self.pictures():
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.is_keyframe and stamp is not None:
                if stamp * packet.time_base > time:
                    group.append(packet)
                    break
                group.clear()
            group.append(packet)
        self._again = group

    def _moved(self) -> "Iterator[Packet[Stream]]":
        """All packets, on one clock; sound that is wanted is put aside."""
        av = require("av")
        try:
            for packet in self.container.demux():
                self._check_remote()
                if packet.stream.type == "video" and packet.stream.disposition & COVER and packet.size:
                    self.covers[packet.stream_index] = bytes(packet)
                self.continuity.move(packet)
                self.holes.see(packet, self.continuity.repaired)
                stamp = packet.pts if packet.pts is not None else packet.dts
                if stamp is not None:
                    time = stamp * packet.time_base
                    self.reached = max(self.reached, time + (packet.duration or 0) * packet.time_base)
                    if packet.size and packet.stream.index in self.sound:
                        self.sound[packet.stream.index].append((time, cast("Packet[AudioStream]", packet)))
                yield packet
            self._check_remote()
            if self.holes.last is None and self._is_beyond_reach():
                self.failure = INDEX_BEHIND
        except (av.FFmpegError, OSError) as error:
            self._check_remote()
            self.failure = INDEX_BEHIND if self._is_beyond_reach() else sentence(error)
        except IndexError:
            return  # PyAV, at the end of a file in which a stream appeared that was not there when it was opened

    def _is_beyond_reach(self) -> bool:
        """Whether the index has come behind the pictures, to which a pipe does not go back."""
        return self._piped is not None and index_is_behind(self._piped.head)
