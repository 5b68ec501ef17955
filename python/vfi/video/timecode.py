"""The time of day, or of a tape, at which a video begins: HH:MM:SS:FF, with ; before FF where numbers are left out."""

import re
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer

_WRITTEN = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d{2,3})")
# Formats of files that hold one; beside a stream of pictures, or as a tag.
HOLD_TIMECODE = ("mp4", "mov", "mxf", "matroska", "webm")
_OFTEN, _SELDOM = 10, 1  # minutes: of ten, nine begin without some numbers


def timecode_of(container: "InputContainer") -> str | None:
    """Of the first frame, as the file tells it."""
    for metadata in (*(stream.metadata for stream in container.streams), container.metadata):
        for name, value in metadata.items():
            if name.lower() == "timecode" and _WRITTEN.fullmatch(value):
                return str(value)
    return None


def moved(timecode: str, rate: Fraction, later: Fraction, other: Fraction) -> str:
    """The same `later` seconds later, counted with the frames of another rate.

    The numbers of frames are of the next whole rate; at 29.97 (;) two, at 59.94 four are left out in nine of ten
    minutes, so that they stay near the clock.
    """
    match = _WRITTEN.fullmatch(timecode)
    assert match is not None
    *clock, frame = (int(match[number]) for number in (1, 2, 3, 5))
    nominal, new = max(1, round(rate)), max(1, round(other))
    left_out = 2 * (nominal // 30) if match[4] != ":" and nominal % 30 == 0 else 0
    minutes = 60 * clock[0] + clock[1]
    count = (60 * minutes + clock[2]) * nominal + frame - left_out * (minutes - minutes // _OFTEN)
    count += round(later * rate)
    ten = _OFTEN * 60 * nominal - (_OFTEN - _SELDOM) * left_out
    tens, rest = divmod(count, ten)
    count += left_out * ((_OFTEN - _SELDOM) * tens + max(0, rest - left_out) // (60 * nominal - left_out))
    seconds, frame = divmod(count, nominal)
    sign = match[4] if left_out and new % 30 == 0 else ":"
    hours, minutes, seconds = seconds // 3600 % 24, seconds // 60 % 60, seconds % 60
    return f"{hours:02}:{minutes:02}:{seconds:02}{sign}{frame * new // nominal:02}"
