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
from vfi.files.images import with_alpha
from vfi.video import priority
from vfi.video.alpha import from_pixels, has_alpha
from vfi.video.av_common import Colour
from vfi.video.colours import FULL, bits_of, chroma_of, copied, dithered
from vfi.video.containers import CONTAINERS
from vfi.video.display_size import PLACEHOLDER
from vfi.video.encodings import Encoding, codec_named, encoder_asked, pixel_format, said, settings, with_more
from vfi.video.hdr import Hdr
from vfi.video.known_encoders import ENCODERS
from vfi.video.opening import open_encoder
from vfi.video.palette import Palette
from vfi.video.siting import steps

if TYPE_CHECKING:
    from av import Codec, Packet, VideoFrame, VideoStream
    from av.container import OutputContainer

# Codecs whose streams do not say the shape of a pixel, and files that do.
_SQUARE = ("vp8", "vp9", "ffv1", "gif", "png")
_TELL_ASPECT = ("mp4", "mov", "ipod")
# Below this width x264's trees of macroblocks read beyond their rows: what is encoded differs from run to run.
_TINY = 256
# Codecs whose streams do not say the range of samples: players take it for limited.
_LIMITED = ("mpeg4", "mpeg2video", "prores", "dnxhd")
# Codecs whose streams say nothing of colours, and primaries that no player guesses: BT.2020 and those of cinemas.
_COLOURLESS, _WIDE = ("mpeg4", "gif", "png"), (9, 10, 11, 12)
# What keeps encoders from printing to stderr what they do; errors come as such.
_QUIET = {"libx265": {"x265-params": "log-level=error"}}
# Where samples of chroma lie: codecs or their files that say it (H.264 and HEVC of 4:2:0 only, VP9 in Matroska), those
# that mean the left whatever was meant, and those that mean the middle.
_TELL_SITING = ("h264", "hevc", "av1", "vp9", "ffv1")
_LEFT = ("mpeg1video", "mpeg2video", "mpeg4")
_CENTRED = ("webp", "mjpeg")
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
    alpha: bool = False  # something can be seen through


class Encoder:
    """A stream of pictures in a container that is open for writing. `encode` and `flush` give packets to be muxed.

    `notices` say what becomes of the pictures, `settings` how they are encoded; `needs_size`: the file wants
    `set_display_size`. Whoever only muxes packets of another encoder of the same settings needs the stream alone.
    """

    def __init__(self, container: "OutputContainer", path: Path, picture: Picture, encoding: Encoding) -> None:
        self.picture, self.path = picture, path
        self.notices: list[str] = []
        self._container = container
        self._last_stamp: int | None = None
        if not encoding.verbose:
            os.environ.setdefault("SVT_LOG", "1")  # libsvtav1 looks once, when it is first opened: errors only
        with priority.kept():
            self.stream = self._add_stream(encoding)
        sizes = self.stream.width, self.stream.height
        self._palette = (
            Palette(*sizes, picture.time_base, alpha=picture.alpha) if self.stream.pix_fmt == "pal8" else None
        )

    def encode(
        self, rgb: np.ndarray, time: Fraction, own: "VideoFrame | None" = None
    ) -> "Iterator[Packet[VideoStream]]":
        """Adds a frame, (H, W, 3) or with alpha (H, W, 4), uint8 or uint16, at `time` seconds; times must grow.

        own: what the frame was in the source. Where the output has the same samples they are written as they are.
        """
        frame = self._frame(self._padded(rgb), own)
        stamp = round(time / self.picture.time_base)
        if self._last_stamp is not None:
            stamp = max(stamp, self._last_stamp + self.picture.least_ticks)
        frame.pts, frame.time_base = stamp, self.picture.time_base
        begins, self._last_stamp = self._last_stamp is None, stamp
        if self._palette is not None:
            yield from self._with_palette(self._palette, frame)
        elif begins:
            with priority.kept():  # the encoder is opened now
                packets = self.stream.encode(frame)
            yield from packets
        else:
            yield from self.stream.encode(frame)

    def flush(self) -> "Iterator[Packet[VideoStream]]":
        """The packets that are held back."""
        if self._palette is not None:
            yield from self._with_palette(self._palette, None)
        yield from self.stream.encode(None)

    def _frame(self, rgb: np.ndarray, own: "VideoFrame | None") -> "VideoFrame":
        """As the encoder, or the palette, takes it."""
        if self._palette is None:
            pixels, sizes = self.stream.pix_fmt or "", (self.stream.width, self.stream.height)
            own = own if own is not None and self._same_siting and (own.width, own.height) == sizes else None
            same = copied(own, pixels, self._colour) if own is not None else None
            made = same if same is not None else from_pixels(rgb, pixels, self._colour)
            made.color_trc, made.color_primaries = self._colour.transfer, self._colour.primaries  # ProRes asks frames
            made.colorspace, made.color_range = self._colour.matrix, self._colour.range
            return made
        plain = with_alpha(rgb) if self.picture.alpha else np.ascontiguousarray(rgb[..., :3])
        frame: VideoFrame = require("av").VideoFrame.from_ndarray(
            dithered(plain) if rgb.dtype == np.uint16 else plain, format="rgba" if self.picture.alpha else "rgb24"
        )
        return frame

    def _with_palette(self, palette: Palette, frame: "VideoFrame | None") -> "Iterator[Packet[VideoStream]]":
        for ready in palette.push(frame):
            yield from self.stream.encode(ready)

    def _add_stream(self, encoding: Encoding) -> "VideoStream":
        picture = self.picture
        codec = self._codec(encoding)
        pixels = pixel_format(codec, encoding, picture.pixels, self._container.format.name)
        options = self._settings(codec, encoding, pixels)
        self.settings = said(codec, options, pixels)
        self.notices += self._losses(codec, pixels)
        if codec.name == "libx264" and self._container.format.name == "mxf":
            options["bf"] = "0"  # its files do not say in which order frames are shown
        if codec.name == "libx264" and picture.width < _TINY:
            options = with_more(options, {"x264-params": "mbtree=0"})
        self._colour = writable(picture.colour, codec.canonical_name, pixels)
        if self._colour.siting and codec.canonical_name in _TELL_SITING:
            options = {**options, "chroma_sample_location": self._colour.siting}
        options = options if encoding.verbose else with_more(options, _QUIET.get(codec.name, {}))
        added = self._container.add_stream(codec.name, rate=picture.rate, options=options)
        stream = cast("VideoStream", added)
        stream.pix_fmt = pixels
        even = max(steps(require("av").VideoFormat(pixels))) > 1
        self._same_siting = not even or picture.colour.siting == self._colour.siting
        stream.width, stream.height = (side + side % 2 if even else side for side in (picture.width, picture.height))
        if (stream.width, stream.height) != (picture.width, picture.height):
            self.notices.append(
                f"{picture.width}x{picture.height} becomes {stream.width}x{stream.height} by repeating the last "
                f"row or column: {pixels} video needs even sizes"
            )
        self._tell_aspect(stream, codec)
        context = stream.codec_context
        context.time_base = picture.time_base
        context.sample_aspect_ratio = picture.pixel_aspect
        context.colorspace, context.color_range = self._colour.matrix, self._colour.range
        context.color_trc, context.color_primaries = self._colour.transfer, self._colour.primaries
        if codec.canonical_name == "hevc" and self._container.format.name in _TELL_ASPECT:
            context.codec_tag = "hvc1"  # as Apple's players want it
        if encoding.bitrate is not None:
            context.bit_rate = encoding.bitrate
        elif codec.name in ("mpeg4", "mpeg2video") or codec.name not in ENCODERS:
            # Old encoders know a bit rate only; this is plenty for them.
            context.bit_rate = int(picture.width * picture.height * picture.rate * Fraction(1, 4))
        open_encoder(context, codec, encoding, self.settings)
        return stream

    def _settings(self, codec: "Codec", encoding: Encoding, pixels: str) -> dict[str, str]:
        try:
            return settings(codec, encoding, pixels, self.picture.hdr)
        except ArgumentError as error:
            if encoding.codec is not None or not self.picture.alpha:
                raise
            raise ArgumentError(f"{error.args[0]}, which keeps the alpha channel; `codec` names another") from error

    def _tell_aspect(self, stream: "VideoStream", codec: "Codec") -> None:
        """Has the shape of a pixel put into the file where the codec's stream does not say it."""
        kind, shape = self._container.format.name, self.picture.pixel_aspect
        silent = shape != 1 and codec.canonical_name in _SQUARE
        self.needs_size = silent and kind in ("matroska", "webm")
        if self.needs_size:
            stream.metadata["title"] = PLACEHOLDER
        elif silent and kind not in _TELL_ASPECT:
            aspect = f"{shape.numerator}:{shape.denominator}"
            self.notices.append(f"the pixel aspect of {aspect} is lost: neither {codec.name} nor {kind} files tell it")

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
        if self.picture.alpha and not has_alpha(written) and codec.name != "gif":
            yield f"the alpha channel is left out: {codec.name} holds none in {self._container.format.name} files"
        if codec.canonical_name in _COLOURLESS and (colour := self.picture.colour).primaries in _WIDE:
            meant = f"primaries {colour.primaries}, transfer {colour.transfer} of H.273"
            yield f"what the colours mean ({meant}) is left out: {codec.name} does not say it"
        if self.picture.hdr is not None and self.picture.hdr.option_of(codec.name) is None:
            yield f"the HDR metadata (mastering display, content light level) is left out: {codec.name} writes none"

    def _codec(self, encoding: Encoding) -> "Codec":
        """The encoder asked for, or the usual one; one that the file can hold."""
        picture = self.picture
        name = encoder_asked(
            encoding, self.path, picture.rate, picture.codec, picture.pixels if picture.alpha else None
        )
        codec = codec_named(name or self._default_encoder())
        if not holds(self._container, codec):
            others = [other for other in ENCODERS if "_" not in other and holds(self._container, codec_named(other))]
            advice = f"use `codec` {' or '.join(others)}, or another suffix" if others else "choose another suffix"
            raise ArgumentError(f"{self.path.suffix} files cannot hold {codec.canonical_name} video; {advice}")
        return codec

    def _default_encoder(self) -> str:
        """Of a container that is not in the list."""
        av = require("av")
        for name in ("libx264", self._container.default_video_codec, *ENCODERS):
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
        known = ENCODERS[codec.name].options if codec.name in ENCODERS else {}
        stream = trial.add_stream(codec.name, rate=25, options=with_more(known, _QUIET.get(codec.name, {})))
        stream.width, stream.height = 256, 128  # as DNxHR wants it, at least
        stream.pix_fmt = codec.video_formats[0].name
        trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    finally:
        with contextlib.suppress(av.FFmpegError):
            trial.close()  # without a frame some cannot
    return True


def writable(colour: Colour, family: str, pixels: str) -> Colour:
    """What the samples mean: RGB has the matrix 0, which planes of YUV cannot have, and some codecs say no range."""
    written = require("av").VideoFormat(pixels)
    if written.is_rgb:
        return replace(colour, matrix=0, range=FULL)
    across, down = steps(written)
    if max(across, down) == 1:
        colour = replace(colour, siting="")
    elif colour.matrix == 0:
        colour = replace(colour, siting="" if family in _CENTRED else "left")
    elif family in _CENTRED:
        colour = replace(colour, siting="")
    elif colour.siting and (family in _LEFT or (family in ("h264", "hevc") and down == 1)):
        colour = replace(colour, siting="left")
    if colour.matrix == 0:
        colour = replace(colour, matrix=1, range=1) if chroma_of(written) else replace(colour, matrix=2)
    if family == "webp":
        return replace(colour, matrix=6, range=1)  # BT.601, whatever is said
    return replace(colour, range=1) if family in _LIMITED else colour
