"""Writing videos: frames with exact times and the source's sound, whole under the final name or not at all."""

import io
import itertools
from collections.abc import Iterable
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vfi.errors import UserError, require
from vfi.files.atomic import cannot_write, claimed, put_in_place
from vfi.video.audio import AudioTransfer
from vfi.video.av_common import sentence, url
from vfi.video.containers import ANIMATIONS, CONTAINERS
from vfi.video.demux import Demuxer
from vfi.video.display_size import set_display_size
from vfi.video.encoder import Encoder, Picture
from vfi.video.encodings import Encoding
from vfi.video.extras import Extras, Span
from vfi.video.palette import with_own_palettes
from vfi.video.sound_tracks import Sound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av import Packet, VideoFrame, VideoStream
    from av.container import OutputContainer


class VideoWriter:
    """Frames go to a temporary file beside `path`; `finish` gives it its name, `discard` removes it.

    replaces: a file of that name, which may appear at any time, is replaced; None: if there is one now.
    """

    def __init__(self, path: Path, picture: Picture, encoding: Encoding, *, replaces: bool | None = None) -> None:
        self.path, self.picture = path, picture
        self.frames = 0
        self.seconds = Fraction(0)
        self.named = False  # the file has a name
        self._replaces = path.exists() if replaces is None else replaces
        self._claim = ExitStack()
        self._temporary = self._claim.enter_context(claimed(path))
        self._audio: AudioTransfer | None = None
        self._first: Iterator[Packet[VideoStream]] = iter(())
        self._last_dts: int | None = None
        try:
            self._container = open_output(path, self._temporary)
            self._encoder = Encoder(self._container, path, picture, encoding)
        except BaseException:
            self._claim.close()
            raise
        self.notices, self.settings = self._encoder.notices, self._encoder.settings

    def carry_over(self, demuxer: Demuxer, span: Span, sound: Sound) -> None:
        """Carries over what travels with the picture, to be called before the first frame is written."""
        extras = Extras(demuxer, self._container, span, self.picture.rate)
        self._first = extras.first_packets()
        self.notices += extras.notices
        self._audio = AudioTransfer(demuxer, self._container, span, sound)
        self.notices += self._audio.notices

    def sound_summary(self) -> list[str]:
        """What went wrong with the sound while it was written."""
        return self._audio.summary() if self._audio is not None else []

    def write(self, rgb: np.ndarray, time: Fraction, own: "VideoFrame | None" = None) -> None:
        """Adds a frame as `Encoder.encode` does."""
        with writing(self.path):
            self._mux(self._first)
            self._mux(self._encoder.encode(rgb, time, own))
            self.frames, self.seconds = self.frames + 1, time
            if self._audio is not None:
                self._audio.pump(time)

    def join(self, packets: "Iterable[Packet[VideoStream]]", frames: int) -> None:
        """Adds what other encoders of the same settings have made: `frames` frames, whose times grow."""
        if self._last_dts is not None and self._encoder.stream.pix_fmt == "pal8":
            packets = with_own_palettes(packets)
        with writing(self.path):
            self._mux(self._first)
            for packet in packets:
                packet.stream, packet.time_base = self._encoder.stream, self.picture.time_base
                if self._last_dts is not None and packet.dts is not None and packet.dts <= self._last_dts:
                    packet.dts = self._last_dts + 1  # each began with a guess of how much it would reorder
                self._last_dts = packet.dts
                if self._audio is not None and packet.pts is not None:
                    self._audio.read_until(packet.pts * self.picture.time_base)
                self._container.mux(packet)
        self.frames += frames

    def finish(self) -> None:
        """Writes what the encoders hold back, if they have encoded anything, and gives the file its name."""
        try:
            with writing(self.path):
                if self._last_dts is None:
                    self._mux(self._encoder.flush())
                if self._audio is not None:
                    self._audio.finish()
                self._container.close()
            if self._encoder.needs_size:
                sizes = self._encoder.stream.width, self._encoder.stream.height
                set_display_size(self._temporary, sizes, self.picture.pixel_aspect)
            put_in_place(self._temporary, self.path, lasting=True, replace=self._replaces)
            self.named = True
        except FileExistsError as error:
            raise UserError(f"{self.path} has been made by another process meanwhile; {self._beside()}") from error
        except OSError as error:
            raise cannot_write(self.path, error) from error
        finally:
            self.discard()

    def interrupted(self) -> bool:
        """Keeps what was written so far as a playable file, unless there is nothing or a file would be replaced."""
        if self.frames == 0 or self._replaces:
            self.discard()
            return False
        if self._audio is not None:
            self._audio.stop_at(self.seconds)
        self.finish()
        return True

    def discard(self) -> None:
        """Closes and removes the temporary file, if it is still there."""
        close_unfinished(self._container)
        self._claim.close()

    def _mux(self, packets: "Iterable[Packet[VideoStream]]") -> None:
        for packet in packets:
            self._container.mux(packet)

    def _beside(self) -> str:
        """Keeps the work under a name that is free."""
        names = (self.path.with_name(f"{self.path.stem}-{number}{self.path.suffix}") for number in itertools.count(2))
        other = next(name for name in names if not name.exists())
        put_in_place(self._temporary, other, lasting=True, replace=False)
        self.named = True
        return f"this result is {other}"


_OPTIONS = {
    **{suffix: {"movflags": "+faststart"} for suffix in (".mp4", ".m4v", ".mov")},
    ".mxf": {"strict": "unofficial"},  # other rates than those of television
    ".webp": {"loop": "0"}, ".apng": {"plays": "0"},  # for ever
}  # fmt: skip


def open_output(path: Path, file: "Path | io.BytesIO") -> "OutputContainer":
    """A container as the name `path` asks for, that is written to `file`."""
    suffix = path.suffix.lower()
    options = _OPTIONS.get(suffix, {})
    av = require("av")
    try:
        if isinstance(file, Path):
            container: OutputContainer = av.open(url(file), "w", options=options)
        else:
            file.name = path.name  # from which the format is guessed
            container = av.open(file, "w", options=options)
    except ValueError as error:
        named = f"the suffix {path.suffix}" if path.suffix else "a name without suffix"
        known = ", ".join([*CONTAINERS, *ANIMATIONS])
        raise UserError(f"cannot write {path}: {named} names no video format; use one of {known}") from error
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return container


def close_unfinished(container: "OutputContainer") -> None:
    """Of a file that is thrown away: that it could not be completed does not matter."""
    try:
        container.close()
    except (OSError, ValueError):
        return


@contextmanager
def writing(path: Path) -> "Iterator[None]":
    """Turns FFmpeg's errors into one sentence."""
    try:
        yield
    except require("av").FFmpegError as error:
        raise UserError(f"cannot write {path}: {sentence(error)}") from error
