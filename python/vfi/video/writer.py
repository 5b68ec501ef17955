"""Writing videos: frames with exact times and the source's sound, whole under the final name or not at all."""

import contextlib
import io
import itertools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vfi.errors import ArgumentError, UserError, require
from vfi.files.atomic import cannot_write, claimed, put_in_place
from vfi.video import extras
from vfi.video.audio import AudioTransfer
from vfi.video.av_common import EXACT_CONVERSION, Colour, url
from vfi.video.containers import CONTAINERS, encoder_for
from vfi.video.demux import Demuxer
from vfi.video.extras import Span
from vfi.video.palette import Palette
from vfi.video.sound_tracks import Sound

if TYPE_CHECKING:
    from av import Codec, VideoFrame, VideoStream
    from av.container import OutputContainer

_OPTIONS = {
    "libx264": {"crf": "17", "preset": "medium"},
    "libx265": {"crf": "20", "preset": "medium"},
    "libvpx-vp9": {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
    "libsvtav1": {"crf": "24", "preset": "8"},
    "gif": {},
    "mpeg4": {},
    "mpeg2video": {},
}
# From the numbers that files carry to swscale's; other matrices are read and written as BT.601.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
# Codecs whose streams do not say the shape of a pixel.
_SQUARE = ("vp8", "vp9", "ffv1", "gif", "png")
BT709 = Colour(matrix=1, range=1, transfer=1, primaries=1)
RGB = Colour(matrix=0, range=2, transfer=1, primaries=1)


@dataclass(frozen=True)
class Encoding:
    """Encoder, quality and kind of pixels; None: chosen by the file's suffix, or by the encoder."""

    codec: str | None = None
    crf: int | None = None
    pixels: str | None = None


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
        """Adds a frame that appears at `time` seconds; times must grow."""
        av = require("av")
        frame = av.VideoFrame.from_ndarray(self._padded(rgb), format="rgb24")
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

    def _encode(self, frame: "VideoFrame | None") -> None:
        """Encodes an RGB frame; None brings what is held back."""
        if self._palette is not None:
            for ready in self._palette.push(frame):
                self._container.mux(self._stream.encode(ready))
        elif frame is not None:
            colour = self._colour
            converted = frame.reformat(
                format=self._stream.pix_fmt,
                dst_colorspace=_MATRICES.get(colour.matrix, 5),
                dst_color_range=colour.range or 1,
                interpolation=EXACT_CONVERSION,
            )
            self._container.mux(self._stream.encode(converted))
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
        av = require("av")
        picture = self.picture
        name = encoding.codec or encoder_for(self.path, picture.rate) or self._default_encoder()
        try:
            codec = av.Codec(name, "w")
        except ValueError as error:
            raise UserError(f"the codec {name!r} is unknown; try libx264, libx265, libvpx-vp9 or mpeg4") from error
        if codec.type != "video" or not codec.video_formats:
            raise UserError(f"the codec {name!r} cannot encode video")
        if not self._holds(codec):
            others = [other for other in _OPTIONS if self._holds(av.Codec(other, "w"))]
            advice = f"use `codec` {' or '.join(others)}, or another suffix" if others else "choose another suffix"
            raise ArgumentError(f"{self.path.suffix} files cannot hold {codec.canonical_name} video; {advice}")
        formats = [video_format.name for video_format in codec.video_formats]
        usual = "pal8" if codec.name == "gif" else "yuv420p"
        pixel_format = encoding.pixels or (usual if usual in formats else formats[0])
        options = dict(_OPTIONS.get(codec.name, {}))
        if codec.name == "libx264" and self._container.format.name == "mxf":
            options["bf"] = "0"  # its files do not say in which order frames are shown
        if encoding.crf is not None:
            if "crf" not in options:
                raise ArgumentError(f"`crf` has no meaning for the codec {name}")
            options["crf"] = str(encoding.crf)
        stream: VideoStream = self._container.add_stream(codec.name, rate=picture.rate, options=options)
        stream.pix_fmt = pixel_format
        even = pixel_format.startswith("yuv4") and "444" not in pixel_format
        stream.width, stream.height = (side + side % 2 if even else side for side in (picture.width, picture.height))
        if (stream.width, stream.height) != (picture.width, picture.height):
            self.notices.append(
                f"{picture.width}x{picture.height} becomes {stream.width}x{stream.height} by repeating the last "
                f"row or column: {pixel_format} video needs even sizes"
            )
        if picture.pixel_aspect != 1 and codec.canonical_name in _SQUARE:
            aspect = f"{picture.pixel_aspect.numerator}:{picture.pixel_aspect.denominator}"
            self.notices.append(f"the pixel aspect of {aspect} is lost: {codec.name} does not write it")
        self._colour = _writable(picture.colour, pixel_format)
        context = stream.codec_context
        context.time_base = picture.time_base
        context.sample_aspect_ratio = picture.pixel_aspect
        context.colorspace, context.color_range = self._colour.matrix, self._colour.range
        context.color_trc, context.color_primaries = self._colour.transfer, self._colour.primaries
        if not options:
            # Old encoders know a bit rate only; this is plenty for them.
            context.bit_rate = int(picture.width * picture.height * picture.rate * Fraction(1, 4))
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

    def _default_encoder(self) -> str:
        known = self._container.supported_codecs
        return "libx264" if "h264" in known else self._container.default_video_codec

    def _padded(self, rgb: np.ndarray) -> np.ndarray:
        rows, columns = self._stream.height - rgb.shape[0], self._stream.width - rgb.shape[1]
        return np.pad(rgb, ((0, rows), (0, columns), (0, 0)), mode="edge") if rows or columns else rgb

    def _guarded(self, action: Callable[[], object]) -> None:
        """Runs a step of writing; FFmpeg's errors become one sentence."""
        try:
            action()
        except require("av").FFmpegError as error:
            raise UserError(f"cannot write {self.path}: {(error.strerror or str(error)).lower()}") from error


def _writable(colour: Colour, pixel_format: str) -> Colour:
    """RGB has the matrix 0, which planes of YUV cannot have: these are BT.709 then."""
    if colour.matrix == 0 and pixel_format.startswith("yuv"):
        return replace(colour, matrix=1, range=1)
    return colour
