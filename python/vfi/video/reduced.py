"""Pictures small enough to be compared quickly."""

import numpy as np

from vfi.files.images import on_screen
from vfi.files.opencv import opencv

_WIDEST = 480


def reduced(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3), or (H, W, 4) with alpha, to (H, W, 3) in uint8, less than 960 pixels wide, by a whole factor."""
    if rgb.shape[1] >= 2 * _WIDEST:
        times = rgb.shape[1] // _WIDEST
        size = -(-rgb.shape[1] // times), -(-rgb.shape[0] // times)
        rgb = opencv().resize(rgb, size, interpolation=opencv().INTER_AREA)
    if rgb.dtype == np.float32:
        rgb = on_screen(rgb)
    elif rgb.shape[2] == 4:  # nothing of what nobody sees
        rgb = (rgb[..., :3] * (rgb[..., 3:] / np.float32(np.iinfo(rgb.dtype).max))).astype(rgb.dtype)
    return (rgb >> 8).astype(np.uint8) if rgb.dtype == np.uint16 else np.ascontiguousarray(rgb)
