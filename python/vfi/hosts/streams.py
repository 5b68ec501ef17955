"""Pictures between frames that several threads ask for, in any order."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import LifoQueue
from threading import Lock

import numpy as np
import torch

from vfi.files.allocator import give_back
from vfi.models.interpolator import Interpolator, interpolate_many
from vfi.models.pictures import Pictures

Planes = tuple[np.ndarray, ...]
"""Of red, green and blue, (H, W): uint8, uint16, or float16 and float32, of which 0 to 1 is black to white."""

# Bytes of pictures, after which what is free between a host's own blocks is given back: it came to a gigabyte.
_GIVEN_BACK_AFTER = 1 << 28


@dataclass
class Stream:
    """A model that makes pictures for one thread at a time; keeps the frame after, which comes before the next ones."""

    model: Interpolator
    device: str
    has_run: bool = False
    _last: tuple[int, np.ndarray | torch.Tensor] | None = None
    _pictures: Pictures = field(init=False)

    def __post_init__(self) -> None:
        self._pictures = Pictures(self.model, self.device)

    def between(self, number: int, first: Planes, second: Planes, positions: Sequence[float]) -> list[Planes]:
        """Pictures between frame `number` and the next one, as whole numbers where those are."""
        known = self._last
        before = known[1] if known is not None and known[0] == number else self._picture(first)
        after = self._picture(second)
        self._last = number + 1, after
        if isinstance(before, np.ndarray) and isinstance(after, np.ndarray):
            made = self._pictures.between(before, after, positions)
            return [tuple(np.moveaxis(picture, 2, 0)) for picture in made]
        assert isinstance(before, torch.Tensor) and isinstance(after, torch.Tensor)
        frames = interpolate_many(self.model, before, after, positions)
        return [tuple(frame[0].float().cpu().numpy()) for frame in frames]

    def _picture(self, planes: Planes) -> np.ndarray | torch.Tensor:
        whole = np.stack(planes, axis=2 if planes[0].dtype.kind == "u" else 0)
        return whole if whole.dtype.kind == "u" else torch.from_numpy(whole).to(self.device)[None].float()


class Streams:
    """Several of them, each with a model of its own, so that as many pictures are made at once.

    What one call of a model makes beside the picture that was asked for is kept until it is asked for, of the last
    calls, one more than there are streams.
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._free: LifoQueue[Stream] = LifoQueue()
        for stream in streams:
            self._free.put(stream)
        self._most = len(streams) + 1
        self._lock = Lock()
        # An engine measures and compiles at its first frames: one after the other.
        self._first = Lock()
        self._made: OrderedDict[tuple[int, int], Future[dict[int, Planes]]] = OrderedDict()
        self._bytes = 0

    def picture(
        self, number: int, request: int, frames: Callable[[], tuple[Planes, Planes]], positions: Sequence[float],
        place: int,
    ) -> Planes:  # fmt: skip
        """That at `place` of the positions between frame `number` and the next one."""

        def make() -> list[Planes]:
            made = self._run(lambda stream: stream.between(number, *frames(), positions))
            self._count(made)
            return made

        if len(positions) == 1:
            return make()[0]
        key = number, request
        while True:
            made, own = self._shared(key, place)
            if own:
                self._fill(key, made, make)
            pictures = made.result()
            with self._lock:
                picture = pictures.pop(place, None)
                if not pictures and self._made.get(key) is made:
                    del self._made[key]
            if picture is not None:
                return picture

    def _shared(self, key: tuple[int, int], place: int) -> "tuple[Future[dict[int, Planes]], bool]":
        """What will hold the picture, and whether the caller has to make it."""
        with self._lock:
            made = self._made.get(key)
            if made is not None and (not made.done() or place in made.result()):
                return made, False
            made = self._made[key] = Future()
            self._made.move_to_end(key)
            while len(self._made) > self._most:
                self._made.popitem(last=False)
            return made, True

    def _fill(self, key: tuple[int, int], made: "Future[dict[int, Planes]]", make: Callable[[], list[Planes]]) -> None:
        try:
            made.set_result(dict(enumerate(make())))
        except BaseException as error:
            with self._lock:
                if self._made.get(key) is made:
                    del self._made[key]
            made.set_exception(error)

    def _run(self, action: Callable[[Stream], list[Planes]]) -> list[Planes]:
        stream = self._free.get()
        try:
            if stream.has_run:
                return action(stream)
            with self._first:
                made = action(stream)
                stream.has_run = True
                return made
        finally:
            self._free.put(stream)

    def _count(self, made: Sequence[Planes]) -> None:
        with self._lock:
            self._bytes += sum(plane.nbytes for planes in made for plane in planes)
            enough = self._bytes >= _GIVEN_BACK_AFTER
            self._bytes %= _GIVEN_BACK_AFTER
        if enough:
            give_back()
