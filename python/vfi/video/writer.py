"""Writing videos: frames with exact times and the source's sound, whole under the final name or not at all."""

import contextlib
import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from vfi.errors import ArgumentError, UserError, require
from vfi.files.atomic import cannot_write, claimed, put_in_place
from vfi.video import extras
from vfi.video.audio import AudioTransfer
from vfi.video.av_common import Colour, url
from vfi.video.colours import FULL, bits_of, chroma_of, dithered, from_rgb
from vfi.video.containers import CONTAINERS, encoder_for
from vfi.video.demux import Demuxer
from vfi.video.encoders import ENCODERS, Encoding, codec_named, pixel_format, said, settings
from vfi.video.extras import Span
from vfi.video.hdr import Hdr
from vfi.video.palette import Palette
from vfi.video.sound_tracks import Sound

if TYPE_CHECKING:
    from av import Codec, VideoFrame, VideoStream
    from av.container import OutputContainer

# Codecs whose streams do not say the shape of a pixel.
_SQUARE = ("vp8", "vp9", "ffv1", "gif", "png")
# Codecs whose streams do not say the range of samples: players take it for limited.
_LIMITED = ("mpeg4", "mpeg2video", "prores", "dnxhd")
BT709 = Colour(matrix=1, range=1, transfer=1, primaries=1)
RGB = Colour(matrix=0, range=2, transfer=1, primaries=1)


@dataclass(frozen=True)
class Picture:
    """What the frames of a video have in common."""

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    pixel_aspect: Fraction = Fraction(1)
    colour: Colour = BT709
    # Ticks of the clock from a frame to the next, at least.
    least_ticks: int = 1
    # Of the source: family of its codec, format of its samples (None: RGB of 8 bits), what its screen was.
    codec: str = ""
    pixels: str | None = None
    hdr: Hdr | None = None


class VideoWriter:
    """Frames go to a temporary file beside `path`; `finish` gives it its name, `discard` removes it."""

    def __init__(self, path: Path, picture: Picture, encoding: Encoding) -> None:
        self.path, self.picture = path, picture
        self.notices: list[str] = []
        self.frames = 0
        self.seconds = Fraction(0)
        self._replaces = path.exists()
        self._claim = ExitStack()
        self._temporary = self._claim.enter_context(claimed(path))
        self._audio: AudioTransfer | None = None
        self._last_stamp: int | None = None
        try:
            self._container = self._open()
            self._stream = self._add_stream(encoding)
            sizes = self._stream.width, self._stream.height
            self._palette = Palette(*sizes, picture.time_base) if self._stream.pix_fmt == "pal8" else None
        except BaseException:
            self._claim.close()
            raise

    def carry_over(self, demuxer: Demuxer, span: Span, sound: Sound) -> None:
        """Carries over what travels with the picture, to be called before the first frame is written."""
        self.notices += extras.carry_over(demuxer.container, self._container, span)
        self._audio = AudioTransfer(demuxer, self._container, span, sound)
        self.notices += self._audio.notices

    def sound_summary(self) -> list[str]:
        """What went wrong with the sound while it was written."""
        return self._audio.summary() if self._audio is not None else []

    def write(self, rgb: np.ndarray, time: Fraction) -> None:
        """Adds a frame, (H, W, 3) in uint8 or uint16, that appears at `time` seconds; times must grow."""
        frame = self._frame(self._padded(rgb))
        stamp = round(time / self.picture.time_base)
        if self._last_stamp is not None:
            stamp = max(stamp, self._last_stamp + self.picture.least_ticks)
        frame.pts, frame.time_base = stamp, self.picture.time_base
        self._last_stamp = stamp
        self._guarded(lambda: self._encode(frame))
        self.frames, self.seconds = self.frames + 1, time
        audio = self._audio
        if audio is not None:
            self._guarded(lambda: audio.pump(time))

    def finish(self) -> None:
        """Writes what the encoders hold back and gives the file its name."""
        try:
            self._guarded(self._flush)
            put_in_place(self._temporary, self.path, lasting=True, replace=self._replaces)
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
        try:
            self._container.close()
        except (OSError, ValueError):
            # The file is thrown away: that it could not be completed does not matter.
            self.frames = 0
        self._claim.close()

    def _beside(self) -> str:
        """Keeps the work under a name that is free."""
        names = (self.path.with_name(f"{self.path.stem}-{number}{self.path.suffix}") for number in itertools.count(2))
        other = next(name for name in names if not name.exists())
        put_in_place(self._temporary, other, lasting=True, replace=False)
        return f"this result is {other}"

    def _frame(self, rgb: np.ndarray) -> "VideoFrame":
        """As the encoder, or the palette, takes it."""
        if self._palette is None:
            return from_rgb(rgb, self._stream.pix_fmt or "", self._colour)
        frame: VideoFrame = require("av").VideoFrame.from_ndarray(
            dithered(rgb) if rgb.dtype == np.uint16 else rgb, format="rgb24"
        )
        return frame

    def _encode(self, frame: "VideoFrame | None") -> None:
        """Encodes a frame; None brings what is held back."""
        for ready in self._palette.push(frame) if self._palette is not None else [frame] if frame is not None else []:
            self._container.mux(self._stream.encode(ready))
        if frame is None:
            self._container.mux(self._stream.encode(None))

    def _flush(self) -> None:
        self._encode(None)
        if self._audio is not None:
            self._audio.finish()
        self._container.close()

    def _open(self) -> "OutputContainer":
        suffix = self.path.suffix.lower()
        options = {"movflags": "+faststart"} if suffix in (".mp4", ".m4v", ".mov") else {}
        if suffix == ".mxf":
            options = {"strict": "unofficial"}  # other rates than those of television
        try:
            container: OutputContainer = require("av").open(url(self._temporary), "w", options=options)
            return container
        except ValueError as error:
            named = f"the suffix {self.path.suffix}" if self.path.suffix else "a name without suffix"
            known = ", ".join(CONTAINERS)
            raise UserError(f"cannot write {self.path}: {named} names no video format; use one of {known}") from error
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from error

    def _add_stream(self, encoding: Encoding) -> "VideoStream":
        picture = self.picture
        codec = codec_named(encoding.codec or encoder_for(self.path, picture.rate, picture.codec) or self._default())
        if not self._holds(codec):
            others = [other for other in ENCODERS if "_" not in other and self._holds(codec_named(other))]
            advice = f"use `codec` {' or '.join(others)}, or another suffix" if others else "choose another suffix"
            raise ArgumentError(f"{self.path.suffix} files cannot hold {codec.canonical_name} video; {advice}")
        pixels = pixel_format(codec, encoding, picture.pixels)
        options = settings(codec, encoding, pixels, picture.hdr)
        if codec.name == "libx264" and self._container.format.name == "mxf":
            options["bf"] = "0"  # its files do not say in which order frames are shown
        self.encoder = said(codec, options, pixels)
        self.notices += self._losses(codec, pixels)
        stream = cast("VideoStream", self._container.add_stream(codec.name, rate=picture.rate, options=options))
        stream.pix_fmt = pixels
        even = pixels.startswith("yuv4") and "444" not in pixels
        stream.width, stream.height = (side + side % 2 if even else side for side in (picture.width, picture.height))
        if (stream.width, stream.height) != (picture.width, picture.height):
            self.notices.append(
                f"{picture.width}x{picture.height} becomes {stream.width}x{stream.height} by repeating the last "
                f"row or column: {pixels} video needs even sizes"
            )
        if picture.pixel_aspect != 1 and codec.canonical_name in _SQUARE:
            aspect = f"{picture.pixel_aspect.numerator}:{picture.pixel_aspect.denominator}"
            self.notices.append(f"the pixel aspect of {aspect} is lost: {codec.name} does not write it")
        self._colour = _writable(picture.colour, codec.canonical_name, pixels)
        context = stream.codec_context
        context.time_base = picture.time_base
        context.sample_aspect_ratio = picture.pixel_aspect
        context.colorspace, context.color_range = self._colour.matrix, self._colour.range
        context.color_trc, context.color_primaries = self._colour.transfer, self._colour.primaries
        if encoding.bitrate is not None:
            context.bit_rate = encoding.bitrate
        elif codec.name in ("mpeg4", "mpeg2video") or codec.name not in ENCODERS:
            # Old encoders know a bit rate only; this is plenty for them.
            context.bit_rate = int(picture.width * picture.height * picture.rate * Fraction(1, 4))
        try:
            context.open()
        except (require("av").FFmpegError, ValueError) as error:
            given = f"{stream.width}x{stream.height} at {float(picture.rate):g} frames per second"
            raise UserError(f"the encoder {self.encoder} does not take {given}: use another `codec`") from error
        return stream

    def _holds(self, codec: "Codec") -> bool:
        """Whether the container takes the codec: the list of those that it takes is not always whole."""
        if codec.canonical_name in self._container.supported_codecs:
            return True
        av = require("av")
        if not codec.video_formats:
            return False
        trial = av.open(io.BytesIO(), "w", format=self._container.format.name)
        try:
            stream = trial.add_stream(codec.name, rate=25)
            stream.width = stream.height = 64
            stream.pix_fmt = codec.video_formats[0].name
            trial.start_encoding()
        except (ValueError, av.FFmpegError):
            return False
        finally:
            with contextlib.suppress(av.FFmpegError):
                trial.close()  # without a frame some cannot
        return True

    def _default(self) -> str:
        known = self._container.supported_codecs
        return "libx264" if "h264" in known else self._container.default_video_codec

    def _losses(self, codec: "Codec", pixels: str) -> Iterator[str]:
        """What these samples do not hold of the source's."""
        if self.picture.pixels is None:
            return
        source, written = map(require("av").VideoFormat, (self.picture.pixels, pixels))
        again = codec.canonical_name == self.picture.codec == "prores"  # decoded to more bits than it has
        if bits_of(source) > bits_of(written) and codec.name != "gif" and not again:
            lost = f"the {bits_of(source)} bits per sample become {bits_of(written)}"
            yield f"{lost}, dithered: the codec {codec.name} holds no more here" if bits_of(written) == 8 else lost
        if not source.is_rgb and chroma_of(written) < chroma_of(source) and codec.name != "gif":
            yield f"the chroma of {source.name} is halved to that of {written.name}"
        if self.picture.hdr is not None and self.picture.hdr.option_of(codec.name) is None:
            yield f"the HDR metadata (mastering display, content light level) is left out: {codec.name} writes none"

    def _padded(self, rgb: np.ndarray) -> np.ndarray:
        rows, columns = self._stream.height - rgb.shape[0], self._stream.width - rgb.shape[1]
        return np.pad(rgb, ((0, rows), (0, columns), (0, 0)), mode="edge") if rows or columns else rgb

    def _guarded(self, action: Callable[[], object]) -> None:
        """Runs a step of writing; FFmpeg's errors become one sentence."""
        try:
            action()
        except require("av").FFmpegError as error:
            raise UserError(f"cannot write {self.path}: {(error.strerror or str(error)).lower()}") from error


def _writable(colour: Colour, family: str, pixels: str) -> Colour:
    """What the samples mean: RGB has the matrix 0, which planes of YUV cannot have, and some codecs say no range."""
    if require("av").VideoFormat(pixels).is_rgb:
        return replace(colour, matrix=0, range=FULL)
    if colour.matrix == 0:
        colour = replace(colour, matrix=1, range=1)
    return replace(colour, range=1) if family in _LIMITED else colour
