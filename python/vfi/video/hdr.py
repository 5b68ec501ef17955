"""What pictures of a high dynamic range say of the screen that they were made on."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from av import VideoFrame
    from av.buffer import Buffer


@dataclass(frozen=True)
class Hdr:
    """SMPTE ST 2086 and CTA-861.3.

    primaries: x and y of red, green, blue and white. luminance: the least and the most of the screen, in candela per
    square metre. light: the brightest pixel and the brightest mean of a frame, in the same. None: not said.
    """

    primaries: tuple[Fraction, ...] | None = None
    luminance: tuple[Fraction, Fraction] | None = None
    light: tuple[int, int] | None = None

    def option_of(self, encoder: str) -> tuple[str, str] | None:
        """The option by which an encoder writes it; None if it has none."""
        if encoder not in _WRITERS:
            return None
        option, screen_name, light_name, chromaticity, luminance = _WRITERS[encoder]
        said = []
        if self.primaries is not None and self.luminance is not None:
            values = [_number(value, chromaticity) for value in self.primaries]
            red, green, blue, white = (f"({values[n]},{values[n + 1]})" for n in range(0, 8, 2))
            least, most = (_number(value, luminance) for value in self.luminance)
            said.append(f"{screen_name}=G{green}B{blue}R{red}WP{white}L({most},{least})")
        if self.light is not None:
            said.append(f"{light_name}={self.light[0]},{self.light[1]}")
        return (option, ":".join(said)) if said else None


# Of an encoder: its option, two names in it, and the units of chromaticity and of candela per square metre.
_WRITERS = {
    "libx264": ("x264-params", "mastering-display", "cll", 50_000, 10_000),
    "libx265": ("x265-params", "master-display", "max-cll", 50_000, 10_000),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light", 1, 1),
}


def _number(value: Fraction, unit: int) -> str:
    return f"{float(value):.6g}" if unit == 1 else str(round(value * unit))


def hdr_of(frame: "VideoFrame") -> Hdr | None:
    """What a decoded frame carries."""
    screen, light = (_words(frame, kind) for kind in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"))
    if screen is None and light is None:
        return None
    primaries = luminance = None
    if screen is not None:  # AVMasteringDisplayMetadata: ten fractions, and which of them are meant
        values = [Fraction(a, b) if b else Fraction(0) for a, b in zip(screen[0:20:2], screen[1:20:2])]
        primaries = tuple(values[:8]) if screen[20] else None
        luminance = (values[8], values[9]) if screen[21] else None
    return Hdr(primaries, luminance, (light[0], light[1]) if light is not None else None)


def _words(frame: "VideoFrame", kind: str) -> tuple[int, ...] | None:
    data: object = frame.side_data.get(kind)
    if data is None:
        return None
    raw = bytes(cast("Buffer", data))
    return struct.unpack(f"={len(raw) // 4}i", raw[: len(raw) // 4 * 4])
