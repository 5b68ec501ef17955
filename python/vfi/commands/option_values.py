"""Values of options, from the words of a command line."""

import argparse
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from vfi.errors import UserError
from vfi.video.timeline import FASTEST, SLOWEST, meant

_MOST = 10**18  # bytes, or bits per second


def bits(text: str) -> int:
    """Bits per second, also in k or M."""
    return _amount(text, text, {"k": 1000, "m": 1_000_000}, 1, "bits per second, such as 8M")


def memory(text: str) -> int:
    """Bytes, also in M or G of 1024 times 1024 and so on, with or without a B or iB behind."""
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
    short = text.lower().removesuffix("b").removesuffix("i")
    return _amount(text, short, units, 1 << 20, "bytes, 1M or more, such as 4G")


def _amount(given: str, number: str, units: Mapping[str, int], least: int, expected: str) -> int:
    factor = units.get(number[-1:].lower(), 1)
    try:
        value = round(float(number[:-1] if factor > 1 else number) * factor)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {given!r}") from None
    if not least <= value < _MOST:
        raise argparse.ArgumentTypeError(f"expected {expected}, and less than {_MOST:.0e}, got {given!r}")
    return value


def count(text: str) -> int:
    """How many of something there has to be."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, got {text!r}")
    return int(text)


def pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    return name, value


def rate(text: str) -> Fraction:
    """A positive number, decimal or a fraction; 59.94 and the like mean their NTSC fraction."""
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"expected a number or a fraction such as 60000/1001, got {text!r}") from None
    if not SLOWEST <= value <= FASTEST:
        bounds = f"from {float(SLOWEST):g} to {FASTEST}"
        raise argparse.ArgumentTypeError(f"expected a number {bounds}, got {text}")
    return meant(value)


def factor(text: str) -> Fraction:
    """A number, decimal or a fraction; 2x is 2."""
    try:
        return Fraction(text.removesuffix("x"))
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"expected a number such as 2, 2x or 2.5, got {text!r}") from None


def rate_or_none(text: str) -> Fraction:
    return Fraction(0) if text == "0" else rate(text)


def seconds(text: str) -> Fraction:
    """Seconds, MM:SS or H:MM:SS, each with decimals."""
    try:
        parts = [Fraction(part) for part in text.split(":")]
    except (ValueError, ZeroDivisionError):
        parts = []
    if not 1 <= len(parts) <= 3 or any(part < 0 for part in parts):
        raise argparse.ArgumentTypeError(f"expected seconds or H:MM:SS, got {text!r}")
    total = Fraction(0)
    for part in parts:
        total = total * 60 + part
    return total


def scene_cuts(given: str | tuple[Fraction, ...] | None) -> bool | tuple[Fraction, ...]:
    """`auto`, `off`, or the times in a file, one in a line; in Python, the times."""
    if isinstance(given, tuple):
        return given
    if given in (None, "auto", "off"):
        return given != "off"
    try:
        lines = Path(str(given)).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"--scene-cuts: expected auto, off or a file, got {given!r}: {error.strerror}") from error
    times = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        try:
            times += [seconds(words[0])] if words else []
        except argparse.ArgumentTypeError as error:
            raise UserError(f"{given}, line {number}: {error}") from error
    return tuple(times)
