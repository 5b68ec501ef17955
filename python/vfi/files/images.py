"""Still images: files to arrays and tensors, and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vfi.errors import UserError
from vfi.files.atomic import written_whole
from vfi.files.opencv import MOST_PIXELS, opencv

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
DEEP = (".png", ".tif", ".tiff")  # which hold 16 bits


@dataclass(frozen=True)
class Image:
    """A picture as (H, W, 3) RGB, uint8 or uint16, and what its file was like."""

    rgb: np.ndarray
    gray: bool
    had_alpha: bool


def read_image(path: Path) -> Image:
    """Reads 8 or 16 bits per channel, gray or colour, upright as its EXIF data says; alpha is left out."""
    data = _bytes_of(path)
    decoded = _decoded(path, data)
    raw = _imdecode(path, data, opencv().IMREAD_UNCHANGED)
    had_alpha = raw is not None and raw.ndim == 3 and raw.shape[2] in (2, 4)
    return Image(_as_rgb(decoded), decoded.ndim == 2, had_alpha)


def read_frames(paths: Sequence[Path], prepare: Callable[[np.ndarray], np.ndarray] | None = None) -> list[np.ndarray]:
    """Frames of one size, (H, W, 3) RGB, read as `read_image` does and then prepared."""
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
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _decoded(path: Path, data: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) BGR, upright, uint8 or uint16."""
    cv2 = opencv()
    decoded = _imdecode(path, data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR) if data.size else None
    if decoded is None:
        raise UserError(f"cannot read {path}: it is not an image, or it is damaged")
    if decoded.dtype not in (np.uint8, np.uint16):
        raise UserError(f"cannot read {path}: expected 8 or 16 bits per channel, got {decoded.dtype}")
    return decoded


def _imdecode(path: Path, data: np.ndarray, flags: int) -> np.ndarray | None:
    cv2 = opencv()
    try:
        result: np.ndarray | None = cv2.imdecode(data, flags)
        return result
    except (cv2.error, MemoryError) as error:
        raise UserError(f"cannot read {path}: it is damaged or larger than {MOST_PIXELS} pixels") from error


def _as_rgb(decoded: np.ndarray) -> np.ndarray:
    gray = decoded.ndim == 2
    return np.repeat(decoded[..., None], 3, axis=2) if gray else np.ascontiguousarray(decoded[..., ::-1])


def write_image(path: Path, rgb: np.ndarray, *, gray: bool = False) -> None:
    """Writes (H, W, 3) RGB in the format that the suffix names, under a temporary name first."""
    cv2 = opencv()
    if rgb.dtype == np.uint16 and path.suffix.lower() not in DEEP:
        rgb = (rgb / 257).round().astype(np.uint8)
    pixels = rgb[..., 0] if gray else rgb[..., ::-1]
    encoded = cv2.imencode(path.suffix, np.ascontiguousarray(pixels))[1]
    with written_whole(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def is_image_name(path: Path) -> bool:
    """Whether the suffix names an image format that can be written (videos, GIF included, are no images here)."""
    return path.suffix.lower() in IMAGES


def to_tensor(rgb: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """(H, W, 3) uint8 or uint16 -> float32 (1, 3, H, W) in [0, 1]."""
    numbers = rgb.astype(np.float32) if rgb.dtype == np.uint16 else rgb  # torch has little for uint16
    planes = torch.from_numpy(numbers).permute(2, 0, 1).contiguous()
    return planes.to(device)[None].float().div_(np.iinfo(rgb.dtype).max)


def to_array(frame: Tensor, dtype: np.dtype | type = np.uint8) -> np.ndarray:
    """(1, 3, H, W) in [0, 1] -> (H, W, 3), rounded."""
    most = np.iinfo(dtype).max
    values = (frame[0].float() * most).round_().clamp_(0, most)
    if most == 255:
        return values.to(torch.uint8).permute(1, 2, 0).cpu().contiguous().numpy()
    return values.permute(1, 2, 0).cpu().contiguous().numpy().astype(dtype)
