"""Opening an encoder: what it prints is kept from people, and what it refuses is said by the name of an option."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from vfi.errors import ArgumentError, require
from vfi.files.overheard import overheard
from vfi.video.av_common import sentence
from vfi.video.encodings import Encoding, given_options
from vfi.video.encodings import settings as settings_of
from vfi.video.known_encoders import ENCODERS

if TYPE_CHECKING:
    from av import Codec, VideoCodecContext

# What FFmpeg says of parts of an option that is a list, which it then leaves out.
_LEFT_OUT = re.compile(r"(?:Error parsing option|Unknown option:|Invalid value for) '?(.+?)'?\.?\s*$")
_LISTS = "-params"  # the ends of their names
_MOST = 1e9  # a bound beyond is none


def open_encoder(context: "VideoCodecContext", codec: "Codec", encoding: Encoding, settings: str) -> None:
    """Opens an encoder that has been set up; `settings` describes it.

    Raises:
        ArgumentError: if it cannot be opened: with the option that is refused, if one is that was given, and what it
            takes, as far as that is known.
    """
    av = require("av")
    given = given_options(encoding)
    try:
        with contextlib.nullcontext() if encoding.verbose else overheard():
            left_out = _opened(context, listening=any(name.endswith(_LISTS) for name in given))
    except (av.FFmpegError, ValueError) as error:
        raise _refused(context, codec, encoding, settings, error) from error
    if left_out:
        lists = " ".join(f"{name}={value}" for name, value in given.items() if name.endswith(_LISTS))
        raise ArgumentError(f"the encoder {codec.name} does not take {left_out!r} in `encoder_option` {lists}")


def _opened(context: "VideoCodecContext", *, listening: bool) -> str | None:
    """What FFmpeg says is left out of lists, if that is listened to."""
    if not listening:
        context.open()
        return None
    logging = require("av").logging
    before, skips = logging.get_level(), logging.get_skip_repeated()
    logging.set_level(logging.WARNING)
    logging.set_skip_repeated(False)  # what was said of another encoder before counts as well
    try:
        with logging.Capture(local=True) as said:
            context.open()
    finally:
        logging.set_level(before)
        logging.set_skip_repeated(skips)
    found = (_LEFT_OUT.search(text) for _, _, text in said)
    return next((match[1] for match in found if match), None)


def _refused(
    context: "VideoCodecContext", codec: "Codec", encoding: Encoding, settings: str, error: Exception
) -> ArgumentError:
    given = given_options(encoding)
    usual = settings_of(codec, replace(encoding, preset=None, options=()), context.pix_fmt or "", None)
    others = {n: usual.get(n, value) for n, value in context.options.items() if n in usual or n not in given}
    for name, value in given.items() if given and _opens(context, codec, others) else ():
        if not _opens(context, codec, {**others, name: value}):
            option = "`preset`" if name == "preset" and encoding.preset is not None else f"`encoder_option` {name}"
            taken = _taken(codec, name)
            if taken is None:
                return ArgumentError(f"the encoder {codec.name} does not take {value!r} for {option}")
            return ArgumentError(f"expected {option} {taken} for the codec {codec.name}, got {value!r}")
    rate = context.framerate or 0
    size = f"{context.width}x{context.height} at {float(rate):g} frames per second"
    what = f"the encoder {settings} cannot be opened for {size} ({sentence(error)})"
    return ArgumentError(f"{what}: other options, or another `codec`, may do")


def _opens(context: "VideoCodecContext", codec: "Codec", options: Mapping[str, str]) -> bool:
    """Whether another one, set up alike, can be opened with these options."""
    av = require("av")
    trial = av.CodecContext.create(codec.name, "w")
    for name in ("width", "height", "pix_fmt", "time_base", "framerate", "bit_rate", "sample_aspect_ratio"):
        if value := getattr(context, name):
            setattr(trial, name, value)
    trial.options = dict(options)
    try:
        with overheard():
            trial.open()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _taken(codec: "Codec", name: str) -> str | None:
    """The values of an option, in words; None: they are not known."""
    options = require("av").CodecContext.create(codec.name, "w").supported_options
    option = next(each for each in (*options.private, *options.generic) if each.name == name)
    known = ENCODERS[codec.name].values.get(name, ()) if codec.name in ENCODERS else ()
    names = known or tuple(choice.name for choice in option.choices or ())
    if names:
        return ", ".join(names)
    bounds = [f"{bound:g}" if abs(bound) < _MOST else "" for bound in (option.min, option.max)]
    if option.min >= option.max or not any(bounds):
        return None
    least, most = bounds
    return f"from {least} to {most}" if least and most else f"of {least} or more" if least else f"of at most {most}"
