"""Pictures in float, and of film: EXR, DPX and TIFF in float, by OpenImageIO."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from vfi.errors import UserError, require
from vfi.files.damage import Damaged
from vfi.files.opencv import MOST_PIXELS

if TYPE_CHECKING:
    from OpenImageIO import ImageSpec

_LOSSLESS = ("none", "rle", "zip", "zips", "piz")  # ways to compress an EXR
# Of a header, what belongs to a single frame, and not to one that was made between two.
_OF_A_FRAME = ("smpte:TimeCode", "DateTime", "dpx:FramePosition")
Window = tuple[int, int, int, int]  # left, top, right, bottom: the last two are outside


@dataclass(frozen=True)
class Header:
    """What a file says beside its pixels. kind: of the numbers, as OpenImageIO calls them; bits: of each."""

    spec: "ImageSpec"
    kind: str
    bits: int
    window: Window
    lost: tuple[str, ...] = ()

    @property
    def shown(self) -> Window:
        """What is meant to be seen."""
        spec = self.spec
        return spec.full_x, spec.full_y, spec.full_x + spec.full_width, spec.full_y + spec.full_height

    def reaches_beyond(self, other: "Header") -> bool:
        """Whether there are pixels outside of the other's window."""
        outer = [end(a, b) for end, a, b in zip((min, min, max, max), self.window, other.window)]
        return tuple(outer) != other.window

    @property
    def pixel_aspect(self) -> float:
        aspect = float(self.spec.get_float_attribute("PixelAspectRatio", 1.0))
        return aspect if 0.01 < aspect < 100 else 1.0


def _openimageio() -> ModuleType:
    return require("OpenImageIO", extra="stills")


def read(path: Path) -> tuple[np.ndarray, bool, Header]:
    """The pixels, (H, W, 3) or with alpha (H, W, 4), float32 or uint16; whether they are gray; the header.

    The picture covers the window of display and that of data; where there is no data it is 0.
    """
    oiio = _openimageio()
    oiio.geterror()
    file = oiio.ImageInput.open(str(path))
    if file is None:
        raise Damaged(f"cannot read {path}: it is not an image, or it is damaged")
    try:
        spec = file.spec()
        _check(path, spec)
        chosen, gray = _channels(spec.channelnames)
        kind = "float" if "float" in str(spec.format) or "half" in str(spec.format) else "uint16"
        some = file.read_image(0, 0, min(chosen), max(chosen) + 1, kind)
        if some is None:
            said = (file.geterror() or "its pixels are missing").splitlines()[0]
            raise Damaged(f"cannot read {path}: it is damaged ({said})")
        window = _canvas(spec)
        header = Header(spec, str(spec.format), _bits(spec), window, tuple(_lost(spec, chosen)))
    finally:
        file.close()
    data = some.reshape(spec.height, spec.width, -1)[..., [number - min(chosen) for number in chosen]]
    if gray:
        data = np.concatenate([data[..., :1].repeat(3, axis=2), data[..., 1:]], axis=2)
    size = (spec.x, spec.y, spec.x + spec.width, spec.y + spec.height)
    return np.ascontiguousarray(placed(data, size, window)), gray, header


def placed(pixels: np.ndarray, before: Window, after: Window) -> np.ndarray:
    """Pixels that cover one window, as they cover another; 0 where there are none."""
    if before == after:
        return pixels
    result = np.zeros((after[3] - after[1], after[2] - after[0], pixels.shape[2]), pixels.dtype)
    left, top, right, bottom = (end(a, b) for end, a, b in zip((max, max, min, min), before, after))
    if left < right and top < bottom:
        inside = pixels[top - before[1] : bottom - before[1], left - before[0] : right - before[0]]
        result[top - after[1] : bottom - after[1], left - after[0] : right - after[0]] = inside
    return result


def write(path: Path, pixels: np.ndarray, suffix: str, kind: str, header: Header | None, *, own: bool) -> None:
    """Writes (H, W, 3) or (H, W, 4), float32 or uint16, as `kind` ("half", "float", "uint16", "uint8").

    header: of a picture of the same size, from a file of such a suffix. own: the picture is that of the header.
    """
    oiio = _openimageio()
    height, width, channels = pixels.shape
    spec = oiio.ImageSpec(width, height, channels, kind)
    if header is not None:
        _keep(spec, header, own=own)
    if suffix == ".dpx" and header is not None and header.bits in (10, 12):
        spec.attribute("oiio:BitsPerSample", header.bits)
    file = oiio.ImageOutput.create({".exr": "openexr", ".dpx": "dpx"}.get(suffix, "tiff"))
    done = file.open(str(path), spec) and file.write_image(np.ascontiguousarray(pixels))
    if not (file.close() and done):
        raise OSError(0, (file.geterror() or "OpenImageIO cannot write it").splitlines()[0])


def _keep(spec: "ImageSpec", header: Header, *, own: bool) -> None:
    source = header.spec
    spec.extra_attribs = source.extra_attribs
    for name in ("oiio:BitsPerSample", "oiio:subimages", *(() if own else _OF_A_FRAME)):
        spec.erase_attribute(name)
    if spec.get_string_attribute("compression").split(":")[0] not in _LOSSLESS:
        spec.attribute("compression", "zip")
    if (spec.width, spec.height) == (header.window[2] - header.window[0], header.window[3] - header.window[1]):
        spec.x, spec.y = header.window[:2]
        spec.full_x, spec.full_y = source.full_x, source.full_y
        spec.full_width, spec.full_height = source.full_width, source.full_height


def _check(path: Path, spec: "ImageSpec") -> None:
    if spec.deep:
        raise UserError(f"cannot read {path}: it is a deep image, with several values for each pixel")
    left, top, right, bottom = _canvas(spec)
    if (right - left) * (bottom - top) > MOST_PIXELS or spec.depth > 1:
        raise UserError(f"cannot read {path}: it is larger than {MOST_PIXELS} pixels")


def _canvas(spec: "ImageSpec") -> Window:
    """What the windows of display and data cover together."""
    ends = [(spec.x, spec.y, spec.width, spec.height), (spec.full_x, spec.full_y, spec.full_width, spec.full_height)]
    lefts, tops = (min(end[n] for end in ends) for n in (0, 1))
    rights, bottoms = (max(end[n] + end[n + 2] for end in ends) for n in (0, 1))
    return lefts, tops, rights, bottoms


def _channels(names: Sequence[str]) -> tuple[list[int], bool]:
    """Which channels are red, green and blue, and alpha where there is one; or one gray, and True."""
    places = {name.lower(): number for number, name in reversed(list(enumerate(names)))}
    layers = ["", *dict.fromkeys(name[: name.rindex(".") + 1] for name in places if "." in name)]
    for layer in layers:
        for colours in (("r", "g", "b"), ("red", "green", "blue")):
            if all(layer + colour in places for colour in colours):
                alpha = [places[layer + name] for name in ("a", "alpha") if layer + name in places]
                return [places[layer + colour] for colour in colours] + alpha[:1], False
    gray = places.get("y", next((number for name, number in places.items() if name not in ("a", "alpha")), 0))
    return [gray, *[places[name] for name in ("a", "alpha") if name in places and places[name] != gray][:1]], True


def _lost(spec: "ImageSpec", chosen: Sequence[int]) -> list[str]:
    """In words, what the file holds beside the picture."""
    others = [name for number, name in enumerate(spec.channelnames) if number not in chosen]
    lost = [f"the channels {', '.join(others)} are left out"] if others else []
    parts = spec.get_int_attribute("oiio:subimages", 1)
    return lost + ([f"all but the first of {parts} parts are left out"] if parts > 1 else [])


def _bits(spec: "ImageSpec") -> int:
    return int(spec.get_int_attribute("oiio:BitsPerSample", 8 * spec.format.size()))
