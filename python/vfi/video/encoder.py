"""Encoding the pictures of a video, in the way that the file which they will be in needs."""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from vfi.errors import ArgumentError, UserError, require
from vfi.video.av_common import EXACT_CONVERSION, Colour
from vfi.video.containers import CONTAINERS, encoder_for
from vfi.video.display_size import PLACEHOLDER
from vfi.video.palette import Palette

if TYPE_CHECKING:
    from av import Codec, Packet, VideoFrame, VideoStream
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
# What keeps encoders from printing to stderr what they do; errors come as such.
_QUIET = {"libx265": {"x265-params": "log-level=error"}}
# The largest crf: the worst picture.
_WORST = {"libx264": 51, "libx265": 51, "libvpx-vp9": 63, "libsvtav1": 63}
# From the numbers that files carry to swscale's; other matrices are read and written as BT.601.
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
# Codecs whose streams do not say the shape of a pixel, and files that do.
_SQUARE = ("vp8", "vp9", "ffv1", "gif", "png")
_TELL_ASPECT = ("mp4", "mov", "ipod")
# Below this width x264's trees of macroblocks read beyond their rows: what is encoded differs from run to run.
_TINY = 256
BT709 = Colour(matrix=1, range=1, transfer=1, primaries=1)
RGB = Colour(matrix=0, range=2, transfer=1, primaries=1)


@dataclass(frozen=True)
class Encoding:
    """Encoder, quality and kind of pixels; None: chosen by the file's suffix, or by the encoder.

    verbose: encoders print what they have to say.
    """

    codec: str | None = None
    crf: int | None = None
    pixels: str | None = None
    verbose: bool = False


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


class Encoder:
    """A stream of pictures in a container that is open for writing. `encode` and `flush` give packets to be muxed.

    `notices` say what becomes of the pictures; `needs_size`: `set_display_size` is to be called for the file. Whoever
    only muxes packets of another encoder of the same settings needs the stream alone.
    """

    def __init__(self, container: "OutputContainer", path: Path, picture: Picture, encoding: Encoding) -> None:
        self.picture, self.path = picture, path
        self.notices: list[str] = []
        self._container = container
        self._last_stamp: int | None = None
        if not encoding.verbose:
            os.environ.setdefault("SVT_LOG", "1")  # libsvtav1 looks once, when it is first opened: errors only
        self.stream = self._add_stream(encoding)
        sizes = self.stream.width, self.stream.height
        self._palette = Palette(*sizes, picture.time_base) if self.stream.pix_fmt == "pal8" else None

    def encode(self, rgb: np.ndarray, time: Fraction) -> "Iterator[Packet[VideoStream]]":
        """The packets that are ready, once a frame that appears at `time` seconds is added; times must grow."""
        frame = require("av").VideoFrame.from_ndarray(self._padded(rgb), format="rgb24")
        stamp = round(time / self.picture.time_base)
        if self._last_stamp is not None:
            stamp = max(stamp, self._last_stamp + self.picture.least_ticks)
        frame.pts, frame.time_base = stamp, self.picture.time_base
        self._last_stamp = stamp
        if self._palette is not None:
            yield from self._with_palette(self._palette, frame)
            return
        yield from self.stream.encode(
            frame.reformat(
                format=self.stream.pix_fmt,
                dst_colorspace=MATRICES.get(self._colour.matrix, 5),
                dst_color_range=self._colour.range or 1,
                interpolation=EXACT_CONVERSION,
            )
        )

    def flush(self) -> "Iterator[Packet[VideoStream]]":
        """The packets that are held back."""
        if self._palette is not None:
            yield from self._with_palette(self._palette, None)
        yield from self.stream.encode(None)

    def _with_palette(self, palette: Palette, frame: "VideoFrame | None") -> "Iterator[Packet[VideoStream]]":
        for ready in palette.push(frame):
            yield from self.stream.encode(ready)

    def _add_stream(self, encoding: Encoding) -> "VideoStream":
        picture = self.picture
        codec = self._codec(encoding)
        formats = [video_format.name for video_format in codec.video_formats or ()]
        usual = "pal8" if codec.name == "gif" else "yuv420p"
        pixel_format = encoding.pixels or (usual if usual in formats else formats[0])
        options = _options(codec, encoding)
        if codec.name == "libx264" and self._container.format.name == "mxf":
            options["bf"] = "0"  # its files do not say in which order frames are shown
        if codec.name == "libx264" and picture.width < _TINY:
            options["x264-params"] = "mbtree=0"
        quiet = {} if encoding.verbose else _QUIET.get(codec.name, {})
        added = self._container.add_stream(codec.name, rate=picture.rate, options=options | quiet)
        stream = cast("VideoStream", added)
        stream.pix_fmt = pixel_format
        even = pixel_format.startswith("yuv4") and "444" not in pixel_format
        stream.width, stream.height = (side + side % 2 if even else side for side in (picture.width, picture.height))
        if (stream.width, stream.height) != (picture.width, picture.height):
            self.notices.append(
                f"{picture.width}x{picture.height} becomes {stream.width}x{stream.height} by repeating the last "
                f"row or column: {pixel_format} video needs even sizes"
            )
        kind = self._container.format.name
        silent = picture.pixel_aspect != 1 and codec.canonical_name in _SQUARE
        self.needs_size = silent and kind in ("matroska", "webm")
        if self.needs_size:
            stream.metadata["title"] = PLACEHOLDER
        elif silent and kind not in _TELL_ASPECT:
            aspect = f"{picture.pixel_aspect.numerator}:{picture.pixel_aspect.denominator}"
            self.notices.append(f"the pixel aspect of {aspect} is lost: neither {codec.name} nor {kind} files tell it")
        self._colour = writable(picture.colour, pixel_format)
        context = stream.codec_context
        context.time_base = picture.time_base
        context.sample_aspect_ratio = picture.pixel_aspect
        context.colorspace, context.color_range = self._colour.matrix, self._colour.range
        context.color_trc, context.color_primaries = self._colour.transfer, self._colour.primaries
        if not options:
            # Old encoders know a bit rate only; this is plenty for them.
            context.bit_rate = int(picture.width * picture.height * picture.rate * Fraction(1, 4))
        return stream

    def _codec(self, encoding: Encoding) -> "Codec":
        """The encoder asked for, or the usual one; one that the file can hold."""
        av = require("av")
        name = encoding.codec or encoder_for(self.path, self.picture.rate) or self._default_encoder()
        try:
            codec: Codec = av.Codec(name, "w")
        except ValueError as error:
            raise UserError(f"the codec {name!r} is unknown; try libx264, libx265, libvpx-vp9 or mpeg4") from error
        if codec.type != "video" or not codec.video_formats:
            raise UserError(f"the codec {name!r} cannot encode video")
        if not holds(self._container, codec):
            others = [other for other in _OPTIONS if holds(self._container, av.Codec(other, "w"))]
            advice = f"use `codec` {' or '.join(others)}, or another suffix" if others else "choose another suffix"
            raise ArgumentError(f"{self.path.suffix} files cannot hold {codec.canonical_name} video; {advice}")
        return codec

    def _default_encoder(self) -> str:
        """Of a container that is not in the list."""
        av = require("av")
        for name in ("libx264", self._container.default_video_codec, *_OPTIONS):
            with contextlib.suppress(ValueError):
                codec = av.Codec(name, "w")
                if codec.type == "video" and codec.video_formats and holds(self._container, codec):
                    return str(name)
        what = f"{self.path.suffix} files ask for {self._container.default_video_codec}, of which there is no encoder"
        raise UserError(f"cannot write {self.path}: {what}; use one of {', '.join(CONTAINERS)}")

    def _padded(self, rgb: np.ndarray) -> np.ndarray:
        rows, columns = self.stream.height - rgb.shape[0], self.stream.width - rgb.shape[1]
        return np.pad(rgb, ((0, rows), (0, columns), (0, 0)), mode="edge") if rows or columns else rgb


def holds(container: "OutputContainer", codec: "Codec") -> bool:
    """Whether the container takes the codec: the list of those that it takes is not always whole."""
    if codec.canonical_name in container.supported_codecs:
        return True
    av = require("av")
    if not codec.video_formats:
        return False
    trial = av.open(io.BytesIO(), "w", format=container.format.name)
    try:
        stream = trial.add_stream(codec.name, rate=25, options=_QUIET.get(codec.name, {}))
        stream.width = stream.height = 64
        stream.pix_fmt = codec.video_formats[0].name
        trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    finally:
        with contextlib.suppress(av.FFmpegError):
            trial.close()  # without a frame some cannot
    return True


def _options(codec: "Codec", encoding: Encoding) -> dict[str, str]:
    options = dict(_OPTIONS.get(codec.name, {}))
    if encoding.crf is not None:
        if "crf" not in options:
            raise ArgumentError(f"`crf` has no meaning for the codec {codec.name}")
        if not 0 <= encoding.crf <= _WORST[codec.name]:
            bounds = f"from 0 (best) to {_WORST[codec.name]}"
            raise ArgumentError(f"expected `crf` {bounds} for the codec {codec.name}, got {encoding.crf}")
        options["crf"] = str(encoding.crf)
    return options


def writable(colour: Colour, pixel_format: str) -> Colour:
    """RGB has the matrix 0, which planes of YUV cannot have: these are BT.709 then."""
    if colour.matrix == 0 and pixel_format.startswith("yuv"):
        return replace(colour, matrix=1, range=1)
    return colour
