"""A model that sees large pictures in overlapping squares, of a side that is given or that fits into a memory."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vfi.errors import ArgumentError
from vfi.models.around import Around
from vfi.models.interpolator import Interpolator
from vfi.networks.memory import peak_bytes
from vfi.networks.sized_inference import check_frames, several_times, time_of
from vfi.networks.tiles import in_tiles
from vfi.options import whole

LEAST = 64  # px: motion to an eighth of it is seen
_MULTIPLE = 64  # px: of a side that is chosen here; networks want multiples of 16 to 64
# What a model takes is measured on squares of this side, after one of the other. A network's scratch counts more there.
_MEASURED, _BEFORE = 512, 128
# Where nothing can be measured: more than any model here takes (bytes per pixel; benchmarks/tiles.py prints them).
_SUPPOSED = 2560
# Bytes per pixel of a whole picture beside the squares: the sum of weights, and per result the sum and the result.
_WEIGHTS, _RESULT = 4, 24


def tiled(model: Interpolator, tile: int | None, max_memory: int | None, device: str) -> Interpolator:
    """The model, in squares of side `tile` px, or of what fits into `max_memory` bytes; as it is if both are None, or
    if it sees to `tile` itself.

    Raises:
        ArgumentError: if both are given, or every pixel of the model's pictures depends on all others.
    """
    if tile is not None and max_memory is not None:
        raise ArgumentError("expected only one of `tile` and `max_memory`, got both")
    if max_memory is None and tile == model.tile:
        return model
    if not model.works_in_tiles:
        name = "tile" if max_memory is None else "max_memory"
        raise ArgumentError(f"`{name}` is not for the model {model.called}: every pixel depends on the whole picture")
    return Tiled(model, tile, max_memory, device)


class Tiled(Around):
    """See `tiled`."""

    def __init__(self, model: Interpolator, tile: int | None, max_memory: int | None, device: str) -> None:
        super().__init__(model)
        self._device = device
        self._tile = None if tile is None else whole("tile", tile, LEAST)
        self._most = None if max_memory is None else whole("max_memory", max_memory, 1)
        self._each: float | None = None  # bytes per pixel, once it is measured

    def interpolate(self, frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        """As the model's own."""
        return self.interpolate_many(frame0, frame1, [time_of(t)])[0]

    @torch.no_grad()
    def interpolate_many(self, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[Tensor]:
        """As the model's own, all times of a square together."""
        check_frames(frame0, frame1)
        inner = [t for t in several_times(times) if t not in (0, 1)]
        made: list[Tensor] = []
        if inner:
            side = self.side_for(frame0, len(inner))
            if max(frame0.shape[2:]) <= side:
                made = self.model.interpolate_many(frame0, frame1, inner)
            else:

                def part(first: Tensor, second: Tensor) -> Tensor:
                    return torch.cat(self.model.interpolate_many(first, second, inner), 1)

                made = list(in_tiles(part, (frame0, frame1), side).split(3, 1))
        given = {0: frame0, 1: frame1}
        return [given[int(t)].clone() if t in (0, 1) else made.pop(0) for t in times]

    def side_for(self, frame: Tensor, count: int) -> int:
        """Of the squares of frames like this one with `count` results, px.

        Raises:
            ArgumentError: if not even the smallest fit into the memory.
        """
        if self._tile is not None or self._most is None:
            return self._tile or max(frame.shape[2:])
        if self._each is None:
            self._each = self._measured(frame)
        batch, (height, width) = len(frame), frame.shape[2:]
        if self._each * batch * height * width <= self._most:
            return max(height, width)
        whole_pictures = batch * height * width * (_WEIGHTS + _RESULT * count)
        pixels = max(0.0, self._most - whole_pictures) / (self._each * batch)
        side = math.isqrt(int(pixels)) // _MULTIPLE * _MULTIPLE
        if side < 2 * LEAST:
            least = (2 * LEAST) ** 2 * self._each * batch + whole_pictures
            needs = f"of {width}x{height} pixels by {self.called} take {math.ceil(least / 2**20)}M"
            raise ArgumentError(f"`max_memory` is too little: frames {needs} or more, got {self._most >> 20}M")
        return side

    def _measured(self, frame: Tensor) -> float:
        """Bytes per pixel, as noise takes them."""

        def peak(side: int) -> int | None:
            generator = torch.Generator().manual_seed(0)
            first, second = (torch.rand(1, 3, side, side, generator=generator).to(frame) for _ in range(2))
            return peak_bytes(lambda: self.model.interpolate(first, second, 0.5), self._device)

        peak(_BEFORE)
        taken = peak(_MEASURED)
        # Not below its result, which others may hide by what they free meanwhile.
        return _SUPPOSED if taken is None else max(taken / _MEASURED**2, _RESULT)
