"""What the files and encoders that videos are written with can hold of times."""

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vfi import errors
from vfi.video.av_common import STREAM
from vfi.video.known_encoders import encoder_of

# MPEG-2 writes a rate as one of a few, times 1 to 4, over 1 to 32.
_MPEG2 = frozenset(
    base * times / over
    for base in (*map(Fraction, (24, 25, 30, 50, 60)), *(Fraction(whole * 1000, 1001) for whole in (24, 30, 60)))
    for times in range(1, 5)
    for over in range(1, 33)
)
# Of a second, for files with a clock of any fineness: half a millisecond is a whole number of these.
_FINE = 48_000
_MPEG4_TICKS = 65_535  # a second has at most, in MPEG-4


@dataclass(frozen=True)
class Container:
    """encoder: used unless another is asked for. also: families of codecs that stay what they are. alpha: families used
    for what can be seen through, each up to so many bits per sample. most: frames per second. least: ticks of the clock
    that a frame lasts. clock: of files that have one of their own, in seconds. constant: all frames last equally long.
    """

    encoder: str
    also: tuple[str, ...] = ()
    alpha: tuple[tuple[str, int], ...] = ()
    clock: Fraction | None = None
    constant: bool = False
    most: int | None = None
    least: int = 1


CONTAINERS = {
    ".mp4": Container("libx264", ("hevc", "vp9", "av1")),
    ".m4v": Container("libx264"),
    ".mov": Container("libx264", ("hevc", "prores", "dnxhd", "png"), (("prores", 10), ("png", 16))),
    ".mkv": Container("libx264", ("hevc", "vp9", "av1", "prores", "ffv1"), (("vp9", 8), ("ffv1", 16)), most=1000),
    ".webm": Container("libvpx-vp9", ("av1",), (("vp9", 8),), most=1000),
    ".avi": Container("mpeg4", alpha=(("ffv1", 16),), constant=True, most=1000),
    ".ts": Container("libx264", ("hevc",)),
    ".m2ts": Container("libx264", ("hevc",)),
    ".mts": Container("libx264", ("hevc",)),
    ".mpg": Container("mpeg2video", constant=True),
    ".mpeg": Container("mpeg2video", constant=True),
    ".vob": Container("mpeg2video", constant=True),
    ".mxf": Container("mpeg2video", ("prores", "dnxhd"), (("prores", 10),), constant=True),
    ".flv": Container("libx264", most=1000),
    # Browsers show a delay below 2 hundredths of a second as 10.
    ".gif": Container("gif", clock=Fraction(1, 100), most=50, least=2),
}

# Pictures that move, of suffixes that still ones have as well: a video becomes one where its output has a single name.
ANIMATIONS = {
    ".webp": Container("libwebp_anim", clock=Fraction(1, 1000), most=1000),
    ".avif": Container("libsvtav1"),
    ".apng": Container("apng"),
}
_HELD = {**CONTAINERS, **ANIMATIONS}
_WITH_ALPHA = ("prores", "png", "vp9", "ffv1")  # families
# What is encoded as a whole, or numbered from its beginning on: parts that were encoded by themselves make no file.
_WHOLE = (".webp", ".apng")


@dataclass(frozen=True)
class Clock:
    """The clock that a video is written with.

    tick: in seconds. least: ticks from a frame to the next, at least. rate: frames per second, of most of it.
    constant: the frames are to be `1 / rate` apart.
    """

    tick: Fraction
    rate: Fraction
    least: int = 1
    constant: bool = False


def in_words(*rates: Fraction) -> list[str]:
    """With as many digits as tell those that differ apart; as fractions where sixteen do not."""
    for digits in range(6, 17):
        words = [f"{float(rate):.{digits}g}" for rate in rates]
        if len(set(words)) == len(set(rates)):
            return words
    return [str(rate) for rate in rates]


def is_y4m(path: Path) -> bool:
    """Whether what is written there is YUV4MPEG2: into a pipe, or a file of that name."""
    return path == STREAM or path.suffix.lower() == ".y4m"


def can_be_joined(path: Path) -> bool:
    """Whether files of this name can be made of parts that were encoded by themselves."""
    return path.suffix.lower() not in _WHOLE and not is_y4m(path)


def encoder_for(path: Path, rate: Fraction, family: str = "", alpha: int = 0) -> str | None:
    """The encoder of files of this name for a source of this family; None for names that are not in the list.

    alpha: bits per sample of a source that can be seen through.
    """
    held = _HELD.get(path.suffix.lower())
    if held is None:
        return None
    if alpha and held.alpha and family not in {*held.also} & {*_WITH_ALPHA}:
        return encoder_of(next((name for name, most in held.alpha if alpha <= most), held.alpha[-1][0]))
    if family in held.also:
        return encoder_of(family)
    if held.encoder != "mpeg2video" or rate in _MPEG2:
        return held.encoder
    return "libx264" if path.suffix.lower() == ".mxf" else "mpeg4"


def clock_for(path: Path, encoder: str | None, rate: Fraction) -> Clock:
    """A clock that the file and the encoder can hold, for `rate` frames per second or the nearest rate they can.

    Raises:
        ArgumentError: if there is none, with a way out.
    """
    if is_y4m(path):
        return Clock(1 / rate, rate, constant=True)
    held = _HELD.get(path.suffix.lower(), Container("", constant=True))
    encoder = encoder_of(encoder) or encoder if encoder else encoder_for(path, rate)
    if held.most is not None and rate > held.most:
        if held.clock is None:
            most, asked = in_words(Fraction(held.most), rate)
            what = f"{path.suffix} files hold at most {most} frames per second, not {asked}"
            raise errors.ArgumentError(f"{what}; use .mp4, or `fps` {most}")
        rate = Fraction(held.most)
    if encoder in ("mpeg2video", "mpeg1video") and rate not in _MPEG2:
        asked, _ = in_words(rate, min(_MPEG2, key=lambda each: abs(each - rate)))
        raise errors.ArgumentError(f"the codec {encoder} has no rate of {asked} frames per second; use `codec` mpeg4")
    if held.clock is not None:
        return Clock(held.clock, rate, held.least)
    if max(rate.numerator, rate.denominator) >= 2**31:
        rate = rate.limit_denominator(100_000)
    ticks = rate.numerator * math.ceil(Fraction(_FINE, rate.numerator))
    coarse = encoder == "mpeg4" and ticks > _MPEG4_TICKS
    if held.constant or coarse or encoder in ("mpeg2video", "mpeg1video"):
        if encoder == "mpeg4":
            rate = 1 / (1 / rate).limit_denominator(_MPEG4_TICKS)
        return Clock(1 / rate, rate, constant=True)
    return Clock(Fraction(1, ticks), rate)
