"""Where a video jumps to another scene, so that nothing must be interpolated."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vfi.files.opencv import opencv
from vfi.video.reduced import reduced

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
# At a cut two frames differ so many times as much as those around them do in the mean, motion aside: more where a part
# of the one is found in the other, which is chance up to that correlation.
_LEAST_JUMP, _LEAST_JUMP_OF_FOUND = 2.4, 4.0
_SURELY_FOUND = 0.88
_AROUND = 3  # intervals before and after that are looked at
_LEAST_AROUND = 0.5
# A flash is brighter than what is before and after it, which then differ by less than this share.
_BRIGHTER, _SHARE_OF_FLASH = 15.0, 0.4

T = TypeVar("T")


@dataclass(frozen=True)
class _Step:
    """From a frame to the next.

    difference: mean, of 255. found: how well the one is found in the other, a correlation; None where one is plain.
    enough: whether that is enough. apart: whether they differ enough to be of two scenes.
    """

    difference: float
    found: float | None
    enough: bool
    apart: bool

    @property
    def unexplained(self) -> float:
        """What motion does not explain of the difference."""
        return self.difference * math.sqrt(1 - max(0.0, self.found or 0.0) ** 2)


class SceneCuts:
    """Cuts of a video, by what is before and after them; holds the frames of eight intervals."""

    def marked(self, frames: Iterable[T], rgb: Callable[[T], np.ndarray]) -> Iterator[tuple[T, bool]]:
        """Each frame, and whether a scene begins with it; three frames later than they are given."""
        waiting: list[T] = []
        steps: list[_Step] = []  # that to the frame number `first` + 1, and so on
        small: list[np.ndarray] = []
        last: np.ndarray | None = None
        place = 0  # in `small`, of the frame that is decided next
        for frame in frames:
            picture = reduced(rgb(frame))
            if last is not None:
                steps.append(_step(last, picture))
            waiting.append(frame)
            small.append(_shrunk(picture))
            last = picture
            if len(waiting) > _AROUND:
                yield waiting.pop(0), place > 0 and _begins(steps, small, place)
                place += 1
                if place > _AROUND + 1:
                    del steps[0], small[0]
                    place -= 1
        for frame in waiting:
            yield frame, place > 0 and _begins(steps, small, place)
            place += 1


def _begins(steps: Sequence[_Step], small: Sequence[np.ndarray], place: int) -> bool:
    """Whether a scene begins with frame number `place`, to which `steps[place - 1]` leads."""
    step = steps[place - 1]
    if not step.apart or (step.found or 0.0) >= _SURELY_FOUND:
        return False
    around = [*steps[max(0, place - 1 - _AROUND) : place - 1], *steps[place : place + _AROUND]]
    usual = [s.difference if step.found is None else s.unexplained for s in around]
    jump = step.unexplained / max(_LEAST_AROUND, float(np.mean(usual))) if usual else float("inf")
    if step.enough and (len(around) < 2 or jump < _LEAST_JUMP_OF_FOUND):
        return False
    return jump >= _LEAST_JUMP and not _is_flash(small, place, step.difference)


def _is_flash(small: Sequence[np.ndarray], place: int, difference: float) -> bool:
    """Whether frame `place`, or the one before it, belongs to a flash within a scene."""
    levels = [float(picture.mean()) for picture in small]
    before, after = place - 1, place
    begins = (after, before, range(after + 1, min(len(small), after + _AROUND)))
    ends = (before, after, range(max(0, before - _AROUND), before))
    for bright, beside, others in (begins, ends):
        for other in others:
            brighter = levels[bright] > max(levels[beside], levels[other]) + _BRIGHTER
            if brighter and _difference(small[beside], small[other]) < _SHARE_OF_FLASH * difference:
                return True
    return False


def is_cut(rgb0: np.ndarray, rgb1: np.ndarray) -> bool:
    """Whether two frames, (H, W, 3) in uint8 or uint16, show different scenes, as far as these two tell.

    Black bars are cut away and both are shrunk. The middle and the halves of the first are looked for in the second, so
    that fast motion of the camera (half of the picture per frame) is no cut, nor is a change of brightness.
    """
    step = _step(reduced(rgb0), reduced(rgb1))
    return step.apart and not step.enough


def _step(rgb0: np.ndarray, rgb1: np.ndarray) -> _Step:
    rows, columns = _inside_bars(rgb0, rgb1)
    small0, small1 = (_shrunk(rgb[rows, columns]) for rgb in (rgb0, rgb1))
    difference = _difference(small0, small1)
    spread0, spread1 = float(small0.std(axis=(0, 1)).mean()), float(small1.std(axis=(0, 1)).mean())
    if difference < max(_NOISE, min(_DIFFERENCE, _SHARE * max(spread0, spread1))):
        return _Step(difference, 1.0, True, False)
    if min(spread0, spread1) < _PLAIN:
        return _Step(difference, None, False, difference >= _DIFFERENCE)
    found = [(_finds(small1, part), least) for part, least in _parts(small0)]
    return _Step(difference, max(value for value, _ in found), any(value >= least for value, least in found), True)


def _shrunk(rgb: np.ndarray) -> np.ndarray:
    cv2 = opencv()
    small: np.ndarray = cv2.resize(rgb, _THUMBNAIL, interpolation=cv2.INTER_AREA)
    return small


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(np.float32) - second).mean())


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
        lines = [rgb.reshape(len(rgb), -1).max(axis) for rgb in (rgb0, rgb1)]
        bright = np.maximum(*(line.reshape(rgb0.shape[1 - axis], -1).max(1) for line in lines)) > _BLACK
        lit = np.flatnonzero(bright)
        whole = lit.size < bright.size // 4  # a dark picture rather than a bar
        found.append(slice(0, bright.size) if whole else slice(int(lit[0]), int(lit[-1]) + 1))
    return found[0], found[1]
