"""Which encoder writes a video, with which settings and which kind of samples."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vfi.errors import ArgumentError, UserError, require
from vfi.video.alpha import has_alpha, without_alpha
from vfi.video.colours import bits_of, chroma_of
from vfi.video.containers import encoder_for
from vfi.video.hdr import Hdr
from vfi.video.known_encoders import ENCODERS, Known, encoder_of

if TYPE_CHECKING:
    from av import Codec, VideoFormat


@dataclass(frozen=True)
class Encoding:
    """How pictures are encoded; None: as the source is, if the file can hold that, else by the file's suffix.

    codec: an encoder, or a family of codecs such as hevc. crf: its quality, on its own scale. pixels: a format of
    samples by FFmpeg's name, such as yuv420p10le. preset: its speed. bitrate: bits per second, instead of a quality.
    options: further options of the encoder. verbose: encoders print what they have to say.
    """

    codec: str | None = None
    crf: int | None = None
    pixels: str | None = None
    preset: str | None = None
    bitrate: int | None = None
    options: tuple[tuple[str, str], ...] = ()
    verbose: bool = False


def encoder_asked(encoding: Encoding, path: Path, rate: Fraction, family: str, pixels: str | None) -> str | None:
    """The encoder asked for, or the usual one for such a source; None: of a file that is not in the list.

    pixels: the format of the samples of a source that can be seen through; None: of another one.
    """
    if encoding.codec is not None:
        return encoding.codec
    formats = require("av").VideoFormat
    with contextlib.suppress(ValueError):  # of a wrong name, which is told later
        if encoding.pixels is not None and not has_alpha(formats(encoding.pixels)):
            pixels = None
    return encoder_for(path, rate, family, 0 if pixels is None else bits_of(formats(pixels)))


def codec_named(name: str) -> "Codec":
    """The encoder that is asked for by its own name or by that of its family.

    Raises:
        UserError: if there is none of that name, or it encodes no pictures.
    """
    av = require("av")
    try:
        codec: Codec = av.Codec(encoder_of(name) or name, "w")
    except ValueError as error:
        raise UserError(f"the codec {name!r} is unknown; try {', '.join(list(ENCODERS)[:7])}") from error
    if codec.type != "video" or not codec.video_formats:
        raise UserError(f"the codec {name!r} cannot encode video")
    return codec


def pixel_format(codec: "Codec", encoding: Encoding, source: str | None, container: str = "") -> str:
    """The format of samples to write, for a source of that format (None: RGB of 8 bits)."""
    known = [pixels.name for pixels in codec.video_formats or ()]
    if codec.canonical_name == "vp9":  # its alpha is a stream of its own beside it, by which players know one format
        hidden = ("yuva420p",) if container in _BESIDE else ()
        known = [name for name in known if name in hidden or without_alpha(name) == name]
    if encoding.pixels is not None:
        if encoding.pixels not in known:
            raise ArgumentError(f"{codec.name} has no `pixel_format` {encoding.pixels}; it has {', '.join(known)}")
        return encoding.pixels
    if codec.name == "gif":
        return "pal8"
    return nearest(known, source, "yuv420p" if "yuv420p" in known else known[0])


def nearest(known: Sequence[str], source: str | None, usual: str) -> str:
    """Of the formats of samples that are known, that of the source, or what loses least of it; None: `usual`."""
    if source is None:
        return usual
    av = require("av")
    pixels, source = av.VideoFormat(source), source.replace("yuvj", "yuv")
    if source in known:
        return source
    planes = [name for name in known if not name.startswith("yuvj") and _is_plain(av.VideoFormat(name))]
    if has_alpha(pixels):
        planes = [name for name in planes if has_alpha(av.VideoFormat(name))] or planes
    else:
        planes = [name for name in planes if not has_alpha(av.VideoFormat(name))] or planes
    if pixels.is_rgb or pixels.has_palette or len(pixels.components) < 3:
        # Players show little but 4:2:0, and a file that is lossy anyway is to be seen.
        lossless = [name for name in planes if av.VideoFormat(name).is_rgb]
        if not lossless:
            usual = usual.replace("yuv4", "yuva4") if usual.replace("yuv4", "yuva4") in planes else usual
            return _deepest(planes, bits_of(pixels), usual if usual in planes else planes[0])
        planes = lossless
    from av.codec.codec import find_best_pix_fmt_of_list

    best, _ = find_best_pix_fmt_of_list(planes, source, has_alpha=True)
    return best.name if best is not None else usual


# Files that hold data beside each packet.
_BESIDE = ("matroska", "webm")


def _is_plain(pixels: "VideoFormat") -> bool:
    """Whether frames of this kind can be made of RGB."""
    return not pixels.has_palette and "bayer" not in pixels.name


def _deepest(names: Sequence[str], bits: int, usual: str) -> str:
    """Of the formats like `usual`, that with as many bits as the source, or the most."""
    alike = [name for name in names if name.startswith(usual) and name.endswith(("p", "le"))]
    formats = {name: bits_of(require("av").VideoFormat(name)) for name in alike}
    enough = [name for name, has in formats.items() if has >= bits]
    return min(enough, key=formats.__getitem__) if enough else max(formats, key=formats.__getitem__, default=usual)


def settings(codec: "Codec", encoding: Encoding, pixels: str, hdr: Hdr | None) -> dict[str, str]:
    """The options that the encoder is opened with.

    Raises:
        ArgumentError: if it has no such option, or not this value.
    """
    known = ENCODERS.get(codec.name, Known(codec.canonical_name))
    result = dict(known.options)
    written = require("av").VideoFormat(pixels)
    result |= known.deep if bits_of(written) > 8 else {}
    result |= known.all_chroma if chroma_of(written) == 1 else {}
    if encoding.bitrate is not None:
        for name in ("crf", "cq", "qp_i", "qp_p", "global_quality", "b"):
            result.pop(name, None)
    if encoding.crf is not None:
        if known.quality is None:
            raise ArgumentError(f"`crf` has no meaning for the codec {codec.name}")
        if encoding.bitrate is not None:
            raise ArgumentError("`crf` and `bitrate` exclude each other")
        name, least, most = known.quality
        if not least <= encoding.crf <= most:
            bounds = f"from {least} (best) to {most}"
            raise ArgumentError(f"expected `crf` {bounds} for the codec {codec.name}, got {encoding.crf}")
        result[name] = str(encoding.crf)
        if "qp_p" in result:
            result["qp_p"] = str(encoding.crf)
    given = given_options(encoding)
    _check_known(codec, given)
    result |= given
    written = hdr.option_of(codec.name) if hdr is not None else None
    return with_more(result, dict([written])) if written is not None else result


def given_options(encoding: Encoding) -> dict[str, str]:
    """Of the encoder, by its own names, beside its quality."""
    return {**({"preset": encoding.preset} if encoding.preset is not None else {}), **dict(encoding.options)}


def with_more(options: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Options, and more of them; what is in both are lists, which are joined."""
    return {**options, **{n: f"{options[n]}:{value}" if n in options else value for n, value in more.items()}}


def _check_known(codec: "Codec", names: Iterable[str]) -> None:
    options = require("av").CodecContext.create(codec.name, "w").supported_options
    known = {option.name for option in (*options.private, *options.generic)}
    for name in names:
        if name not in known:
            own = ", ".join(sorted(option.name for option in options.private)[:12])
            raise ArgumentError(f"the encoder {codec.name} has no option {name!r}; some that it has: {own}")


def said(codec: "Codec", options: Mapping[str, str], pixels: str) -> str:
    """The encoder and its settings, in words."""
    return ", ".join([codec.name, pixels, *(f"{name} {value}" for name, value in options.items())])
