"""Where a video jumps to another scene, so that nothing must be interpolated."""

import numpy as np

from vfi.files.opencv import opencv

_THUMBNAIL = (48, 32)
# Pictures of one scene correlate above this after the best shift; of two scenes, nearly always below. A half of the
# picture is found by chance more often than its middle.
_LEAST_CORRELATION = 0.5
_LEAST_OF_HALF = 0.75
# Mean difference (of 255) below which two pictures count as alike, however their noise correlates: less in dark scenes,
# in shares of the standard deviation.
_DIFFERENCE = 12.0
_SHARE = 0.35
_NOISE = 2.5
# Standard deviation below which a picture is a plain one, such as black.
_PLAIN = 2.0
_BLACK = 20


def is_cut(rgb0: np.ndarray, rgb1: np.ndarray) -> bool:
    """Whether two consecutive frames, (H, W, 3) in uint8 or uint16, show different scenes.

    Black bars are cut away and both are shrunk. The middle and the halves of the first are looked for in the second, so
    that fast motion of the camera (half of the picture per frame) is no cut, nor is a change of brightness.
    """
    cv2 = opencv()
    if rgb0.dtype == np.uint16:
        rgb0, rgb1 = ((rgb >> 8).astype(np.uint8) for rgb in (rgb0, rgb1))
    rows, columns = _inside_bars(rgb0, rgb1)
    small0, small1 = (cv2.resize(rgb[rows, columns], _THUMBNAIL, interpolation=cv2.INTER_AREA) for rgb in (rgb0, rgb1))
    difference = float(np.abs(small0.astype(np.float32) - small1).mean())
    spread0, spread1 = float(small0.std(axis=(0, 1)).mean()), float(small1.std(axis=(0, 1)).mean())
    if difference < max(_NOISE, min(_DIFFERENCE, _SHARE * max(spread0, spread1))):
        return False
    if min(spread0, spread1) < _PLAIN:
        return difference >= _DIFFERENCE
    return not any(_finds(small1, part) >= least for part, least in _parts(small0))


def _parts(small: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Parts of a thumbnail, and how well each must be found elsewhere."""
    width, height = _THUMBNAIL
    y, x = height // 8, width // 8
    beside = [small[y:-y, : width // 2], small[y:-y, width // 2 :]]
    above = [small[: height // 2, x:-x], small[height // 2 :, x:-x]]
    return [(small[y:-y, x:-x], _LEAST_CORRELATION), *((half, _LEAST_OF_HALF) for half in (*beside, *above))]


def _finds(small: np.ndarray, part: np.ndarray) -> float:
    """The correlation at the best place."""
    cv2 = opencv()
    return float(cv2.matchTemplate(small, np.ascontiguousarray(part), cv2.TM_CCOEFF_NORMED).max())


def _inside_bars(rgb0: np.ndarray, rgb1: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns without the black bars that both frames have."""
    found = []
    for axis in (1, 0):
        bright = np.maximum(*(rgb.max(axis=(axis, 2)) for rgb in (rgb0, rgb1))) > _BLACK
        lit = np.flatnonzero(bright)
        whole = lit.size < bright.size // 4  # a dark picture rather than a bar
        found.append(slice(0, bright.size) if whole else slice(int(lit[0]), int(lit[-1]) + 1))
    return found[0], found[1]
