"""Still images: files to arrays and tensors, and back."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vfi.errors import UserError, require
from vfi.files import film_images
from vfi.files.atomic import written_whole
from vfi.files.damage import PRINTED, Damaged, made_up
from vfi.files.film_images import Header
from vfi.files.light import decoded, encoded
from vfi.files.opencv import MOST_PIXELS, opencv
from vfi.files.overheard import overheard

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".ppm", ".exr", ".dpx")
# What numbers they hold, the most exact last, and which of them hold alpha.
_BYTES, _WORDS, _FLOATS = np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)
_HOLD = {
    **dict.fromkeys((".png",), (_BYTES, _WORDS)), **dict.fromkeys((".tif", ".tiff"), (_BYTES, _WORDS, _FLOATS)),
    ".dpx": (_WORDS,), ".exr": (_FLOATS,),
}  # fmt: skip
_ALPHA = (".png", ".tif", ".tiff", ".webp", ".avif", ".exr")
_FAR = 1e4  # beyond it OpenCV does not clamp
_BITS = {_BYTES: "8 bits", _WORDS: "16 bits", _FLOATS: "float"}


@dataclass(frozen=True)
class Image:
    """A picture, and what its file was like.

    pixels: (H, W, 3) RGB, or (H, W, 4) with alpha. In uint8 and uint16 they are values of screens, and colours are not
    multiplied by alpha; in float32 they are linear light, and colours are. damage: of the file, in words; what was lost
    by it the decoder has made up.
    """

    pixels: np.ndarray
    gray: bool
    header: Header | None = None
    damage: str = ""

    @property
    def rgb(self) -> np.ndarray:
        """(H, W, 3)."""
        return np.ascontiguousarray(self.pixels[..., :3])

    @property
    def lost(self) -> tuple[str, ...]:
        """What else the file holds, in words."""
        return self.header.lost if self.header is not None else ()

    @property
    def had_alpha(self) -> bool:
        return bool(self.pixels.shape[2] == 4)


def read_image(path: Path) -> Image:
    """Reads 8 or 16 bits per channel, or float, gray or colour, upright as its EXIF data says.

    Raises:
        Damaged: if there is nothing to be decoded.
    """
    suffix = path.suffix.lower()
    if suffix in (".exr", ".dpx"):
        _bytes_of(path)  # says why it cannot be read
        return Image(*film_images.read(path))
    data = _bytes_of(path)
    if suffix == ".avif":
        return _by_pillow(path)
    if data[:2].tobytes() in (b"II", b"MM") and _is_float(path):
        return Image(*film_images.read(path))
    is_jpeg = data[:2].tobytes() == b"\xff\xd8"
    with overheard(PRINTED) as printed:
        picture = _decoded(path, data)
        pixels, raw = _as_rgb(picture), None if is_jpeg else _imdecode(path, data, opencv().IMREAD_UNCHANGED)
    if raw is not None and raw.ndim == 3 and raw.shape[2] == 4:
        pixels = _with_alpha(pixels, raw)
    return Image(pixels, picture.ndim == 2, damage=made_up(printed))


def _with_alpha(rgb: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """With the alpha of the same picture in BGRA, which may not be upright."""
    for turned in (raw, raw.transpose(1, 0, 2)):
        for down, across in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            upright = turned[::down, ::across]
            if np.array_equal(upright[..., 2::-1], rgb):
                return np.dstack((rgb, upright[..., 3]))
    return rgb


def _is_float(path: Path) -> bool:
    """Whether a TIFF holds float, which OpenCV reads for integers if it is of 16 bits."""
    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # of damage, which the reader tells
    try:
        with require("tifffile").TiffFile(path) as file:
            return bool(file.pages[0].dtype.kind == "f")
    except UserError:
        raise
    except Exception:  # it raises anything for what is no TIFF
        return False


def _by_pillow(path: Path) -> Image:
    pillow = require("PIL.Image")
    try:
        with pillow.open(path) as file:
            if file.width * file.height > MOST_PIXELS:
                raise UserError(f"cannot read {path}: it is larger than {MOST_PIXELS} pixels")
            alpha = "A" in file.getbands() or "transparency" in file.info
            return Image(np.array(file.convert("RGBA" if alpha else "RGB")), gray=False)
    except (OSError, SyntaxError, ValueError, RuntimeError, pillow.DecompressionBombError) as error:
        raise Damaged(f"cannot read {path}: it is not an image, or it is damaged") from error


def read_frames(paths: Sequence[Path], prepare: Callable[[np.ndarray], np.ndarray] | None = None) -> list[np.ndarray]:
    """Frames of one size, (H, W, 3) RGB of 8 or 16 bits, upright, and then prepared."""
    frames = [_as_rgb(_decoded(path, _bytes_of(path))) for path in paths]
    if prepare is not None:
        frames = [prepare(frame) for frame in frames]
    if len({frame.shape for frame in frames}) > 1:
        raise UserError(f"the {len(frames)} frames of {paths[1].parent} differ in size")
    return frames


def _bytes_of(path: Path) -> np.ndarray:
    try:
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise Damaged(f"cannot read {path}: {error.strerror or error}") from error


def _decoded(path: Path, data: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) BGR, upright, uint8 or uint16."""
    cv2 = opencv()
    decoded = _imdecode(path, data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR) if data.size else None
    if decoded is None:
        raise Damaged(f"cannot read {path}: it is not an image, or it is damaged")
    if decoded.dtype not in (np.uint8, np.uint16):
        raise UserError(f"cannot read {path}: expected 8 or 16 bits per channel, got {decoded.dtype}")
    return decoded


def _imdecode(path: Path, data: np.ndarray, flags: int) -> np.ndarray | None:
    cv2 = opencv()
    try:
        result: np.ndarray | None = cv2.imdecode(data, flags)
        return result
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from error
        raise Damaged(f"cannot read {path}: it is damaged or larger than {MOST_PIXELS} pixels") from error


def _as_rgb(decoded: np.ndarray) -> np.ndarray:
    cv2 = opencv()
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_GRAY2RGB if decoded.ndim == 2 else cv2.COLOR_BGR2RGB))


def write_image(
    path: Path, pixels: np.ndarray, *, gray: bool = False, like: Image | None = None, own: bool = False, kind: str = ""
) -> None:
    """Writes (H, W, 3) RGB, or with alpha, in the format that the suffix names, under a temporary name first.

    What the format does not hold is made what it holds, as `fitting` does. like: a picture whose header stays, if that
    is of such a file; own: it is this very picture. kind: of an EXR, "half" or "float"; "": as `like`, else half.
    """
    suffix = path.suffix.lower()
    pixels = fitting(pixels, path)
    with written_whole(path) as temporary:
        if suffix in (".exr", ".dpx") or pixels.dtype == _FLOATS:
            header = like.header if like is not None else None
            usual = header.kind if header is not None and header.kind in ("half", "float") else "half"
            kind = "uint16" if pixels.dtype == _WORDS else "float" if suffix != ".exr" else kind or usual
            film_images.write(temporary, pixels, suffix, kind, header, own=own)
        elif suffix == ".avif":
            require("PIL.Image").fromarray(pixels).save(temporary, "AVIF", quality=90)
        else:
            temporary.write_bytes(_encoded(pixels[..., 0] if gray else pixels, suffix))


def _encoded(pixels: np.ndarray, suffix: str) -> bytes:
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    data: bytes = opencv().imencode(suffix, np.ascontiguousarray(pixels))[1].tobytes()
    return data


def held(path: Path, dtype: np.dtype) -> np.dtype:
    """The numbers, like these or the nearest, that files of this name hold."""
    kinds = _HOLD.get(path.suffix.lower(), (_BYTES,))
    order = (_BYTES, _WORDS, _FLOATS)
    return next((kind for kind in kinds if order.index(kind) >= order.index(dtype)), kinds[-1])


def losses(pixels: np.ndarray, path: Path) -> list[str]:
    """What files of this name do not hold of such a picture, in words."""
    kind, lost = held(path, pixels.dtype), []
    if pixels.dtype == _FLOATS and kind != _FLOATS:
        lost.append(f"linear light in float becomes {_BITS[kind]} of sRGB, without what is below 0 or above 1")
    elif kind.itemsize < pixels.dtype.itemsize:
        lost.append(f"the {_BITS[pixels.dtype]} per sample become {kind.itemsize * 8}")
    if kind == _FLOATS and pixels.dtype != _FLOATS:
        lost.append("values, taken for sRGB, become linear light")
    if path.suffix.lower() not in _ALPHA and seen_through(pixels):
        lost.append("the alpha channel is left out")
    return lost


def losses_in_video(pixels: np.ndarray) -> list[str]:
    """What such a picture loses before it is encoded, in words."""
    return losses(pixels, Path("16 bits.png")) if pixels.dtype == _FLOATS else []


def seen_through(pixels: np.ndarray) -> bool:
    """Whether anything in the picture is not opaque."""
    most = 1 if pixels.dtype == _FLOATS else np.iinfo(pixels.dtype).max
    return pixels.shape[2] == 4 and bool((pixels[..., 3] < most).any())


def for_video(pixels: np.ndarray) -> np.ndarray:
    """The picture in 8 or 16 bits."""
    return as_kind(pixels, _WORDS) if pixels.dtype == _FLOATS else pixels


def fitting(pixels: np.ndarray, path: Path) -> np.ndarray:
    """The picture as files of this name hold it."""
    if path.suffix.lower() not in _ALPHA:
        pixels = pixels[..., :3]
    return as_kind(pixels, held(path, pixels.dtype))


def as_kind(pixels: np.ndarray, kind: np.dtype) -> np.ndarray:
    """The same picture in uint8, uint16 or float32: values of screens by sRGB, or linear light."""
    if pixels.dtype == kind:
        return pixels
    if pixels.dtype == _BYTES and kind == _WORDS:
        return pixels.astype(_WORDS) * 257
    if pixels.dtype == _WORDS and kind == _BYTES:
        return np.asarray((pixels / 257).round().astype(_BYTES))
    if kind == _FLOATS:
        values = torch.from_numpy(pixels.astype(np.float32) / np.iinfo(pixels.dtype).max)
        alpha = values[..., 3:]
        colour = decoded(values[..., :3])
        return torch.cat([colour * alpha if alpha.numel() else colour, alpha], 2).numpy()
    linear = torch.from_numpy(np.nan_to_num(pixels, nan=0.0))
    colour, alpha = linear[..., :3], linear[..., 3:].clamp(0, 1)
    if alpha.numel():
        colour = torch.where(alpha > 0, colour / alpha, 0)
    values = torch.cat([encoded(colour.clamp(0, 1)), alpha], 2) * np.iinfo(kind).max
    return np.asarray(values.round().numpy().astype(kind))


def with_alpha(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 4), opaque where nothing is said."""
    if pixels.shape[2] == 4:
        return pixels
    opaque = 1 if pixels.dtype == _FLOATS else np.iinfo(pixels.dtype).max
    return np.dstack((pixels, np.full(pixels.shape[:2], opaque, pixels.dtype)))


def on_screen(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) of 8 or 16 bits, without alpha."""
    return np.ascontiguousarray(for_video(pixels)[..., :3])


def is_image_name(path: Path) -> bool:
    """Whether the suffix names an image format that can be written (videos, GIF included, are no images here)."""
    return path.suffix.lower() in IMAGES


def to_tensor(rgb: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """(H, W, C) uint8 or uint16 -> float32 (1, C, H, W) in [0, 1]; float32 as it is."""
    apart, device = opencv().split(rgb), torch.device(device)
    if rgb.dtype != np.float32 and device.type == "cpu":  # numpy divides in one pass, torch converts first
        values = np.empty((rgb.shape[2], *rgb.shape[:2]), np.float32)
        for plane, value in zip(apart, values):
            np.divide(plane, np.float32(np.iinfo(rgb.dtype).max), out=value)
        return torch.from_numpy(values)[None]
    numbers = np.stack(apart)
    small = numbers.astype(np.float32) if rgb.dtype == np.uint16 else numbers  # torch has little for uint16
    planes = torch.from_numpy(small).to(device)[None].float()
    return planes if rgb.dtype == np.float32 else planes.div_(np.iinfo(rgb.dtype).max)


def to_array(frame: Tensor, dtype: np.dtype | type = np.uint8) -> np.ndarray:
    """(1, C, H, W) in [0, 1] -> (H, W, C), rounded; of float32 as it is."""
    planes = frame[0].float().cpu()
    if dtype == np.float32:
        return planes.permute(1, 2, 0).contiguous().numpy()
    most, cv2 = np.iinfo(dtype).max, opencv()
    if not all(-_FAR < float(each) < _FAR for each in planes.aminmax()):  # NaN, too
        planes = planes.nan_to_num(0.0).clamp(0, 1)
    kind = cv2.CV_8U if most == 255 else cv2.CV_16U
    whole = cv2.merge([cv2.addWeighted(plane, most, plane, 0, 0, dtype=kind) for plane in planes.contiguous().numpy()])
    return np.asarray(whole.reshape(*planes.shape[1:], len(planes)))
