"""What was made of a frame is made once for the pairs that it is in."""

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

Made = TypeVar("Made")


class SeenFrames(Generic[Made]):
    """Keeps what was made of a frame for as long as the frame is there and unchanged."""

    def __init__(self) -> None:
        self._kept = WeakTensorKeyDictionary()

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, frame: Tensor, make: Callable[[Tensor], Made], *also: object) -> Made:
        """make(frame), or what it was before, for as long as `also` stays equal: all else that it depends on."""
        if frame.is_inference():  # which does not say whether it changed
            return make(frame)
        now = (frame._version, *also)
        before = self._kept.get(frame)
        if before is not None and before[0] == now:
            kept: Made = before[1]
            return kept
        made = make(frame)
        self._kept[frame] = (now, made)
        return made
