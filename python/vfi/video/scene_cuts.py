"""Where a video jumps to another scene, so that nothing must be interpolated."""

import numpy as np

from vfi.files.opencv import opencv

_THUMBNAIL = (48, 32)
# Pictures of one scene correlate above this after the best shift; of two scenes, nearly always below.
_LEAST_CORRELATION = 0.5
# Mean difference (of 255) below which two pictures count as alike, however their noise correlates.
_LEAST_DIFFERENCE = 12.0


def is_cut(rgb0: np.ndarray, rgb1: np.ndarray) -> bool:
    """Whether two consecutive frames, (H, W, 3) uint8, show different scenes.

    Both are shrunk; the middle of the first is looked for in the second, so that fast motion of the camera (an eighth
    of the picture per frame) is no cut.
    """
    cv2 = opencv()
    small0, small1 = (cv2.resize(rgb, _THUMBNAIL, interpolation=cv2.INTER_AREA) for rgb in (rgb0, rgb1))
    if float(np.abs(small0.astype(np.float32) - small1).mean()) < _LEAST_DIFFERENCE:
        return False
    width, height = _THUMBNAIL
    middle = np.ascontiguousarray(small0[height // 8 : -height // 8, width // 8 : -width // 8])
    correlation = cv2.matchTemplate(small1, middle, cv2.TM_CCOEFF_NORMED)
    return float(correlation.max()) < _LEAST_CORRELATION
