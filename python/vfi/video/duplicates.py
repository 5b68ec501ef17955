"""Frames that show the one before again: animation drawn for every second or third frame, film with frames repeated."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from vfi.files.opencv import opencv
from vfi.video.reader import TimedFrame
from vfi.video.reduced import reduced

# Frames are compared in blocks of their reduced pictures, of 255: noise and coding leave less than this in each block,
# coding more where contrast is high; a small part that moves leaves more in one.
_BLOCK, _LEAST, _OF_CONTRAST = 8, 2.5, 0.1
_NEAR = (15, 15)  # pixels around one, among which contrast is looked for
# Of what frames near a frame differ by in the mean and in one block: less than these shares is what coding leaves. The
# frames are so many, and the most but one counts: a cut is no measure.
_SHARE, _SHARE_OF_BLOCK, _LATELY = 0.08, 0.5, 6
_SMOOTHED = (5, 5)  # pixels: noise of single ones does not count
# A picture shown more often than this, in a row, stands still: it is no animation on twos or threes.
_MOST = 5


class Distinct:
    """Leaves out frames that repeat the one before, and counts them in `dropped`; a picture that stands still stays."""

    def __init__(self) -> None:
        self.dropped = 0
        self._lately: deque[tuple[float, float]] = deque(maxlen=_LATELY)

    def frames(self, frames: Iterable[TimedFrame]) -> Iterator[TimedFrame]:
        """The distinct ones, each as long as it is shown."""
        shown: list[TimedFrame] = []  # the same picture
        small: np.ndarray | None = None
        for frame in frames:
            again = opencv().blur(reduced(frame.rgb), _SMOOTHED) if frame.rgb.size else None
            if small is not None and again is not None and not self._differ(small, again):
                shown.append(frame)
                continue
            yield from self._one(shown)
            shown, small = [frame], again
        yield from self._one(shown)

    def _differ(self, small0: np.ndarray, small1: np.ndarray) -> bool:
        changed = blocks_changed(small0, small1)
        mean, most = float(changed.mean()), float(changed.max())
        means, peaks = (sorted(values) for values in zip(*self._lately)) if len(self._lately) > 1 else ([], [])
        self._lately.append((mean, most))
        if means and mean < _SHARE * means[-2] and most < _SHARE_OF_BLOCK * peaks[-2]:
            return False
        return more_than_noise(changed, small0)

    def _one(self, shown: list[TimedFrame]) -> Iterator[TimedFrame]:
        if len(shown) > _MOST:  # it stands still, and moves from the last one on
            self.dropped += len(shown) - 2
            held = sum((frame.duration for frame in shown[:-1]), start=shown[0].duration * 0)
            yield replace(shown[0], duration=held)
            yield replace(shown[-1], rgb=shown[0].rgb, own=shown[0].own)
        elif shown:
            self.dropped += len(shown) - 1
            yield replace(shown[0], duration=sum((frame.duration for frame in shown), start=shown[0].duration * 0))


def blocks_changed(small0: np.ndarray, small1: np.ndarray) -> np.ndarray:
    """How much each block of two reduced pictures differs."""
    difference = opencv().absdiff(small0, small1)
    return _in_blocks(difference.max(axis=2) if small0.ndim == 3 else difference)


def more_than_noise(changed: np.ndarray, small: np.ndarray) -> bool:
    """Whether any block has changed by more than noise and coding leave in a picture."""
    if changed.max() <= _LEAST:
        return False
    cv2 = opencv()
    gray, around = small.max(axis=2) if small.ndim == 3 else small, np.ones(_NEAR, np.uint8)
    contrast = _in_blocks(cv2.dilate(gray, around) - cv2.erode(gray, around))
    return bool((changed > _LEAST + _OF_CONTRAST * contrast).any())


def _in_blocks(small: np.ndarray) -> np.ndarray:
    """The mean of each block."""
    height, width = small.shape
    size = -(-width // _BLOCK), -(-height // _BLOCK)
    means: np.ndarray = opencv().resize(small.astype(np.float32), size, interpolation=opencv().INTER_AREA)
    return means
