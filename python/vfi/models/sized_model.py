"""What RIFE of every generation shares: what `interpolate` does unless told otherwise."""

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import Self

from vfi.models.interpolator import Interpolator
from vfi.networks import sized_inference


class SizedModel(Interpolator):
    """An Interpolator around a `vfi.networks.sized_inference.SizedNetwork`, which it is itself."""

    multiple: int
    least_multiple: int
    scale, tta, ensemble = 1.0, False, False  # what interpolate does unless told otherwise

    def check_ensemble(self, ensemble: bool) -> None:
        """ArgumentError if the network cannot average with the answer for the frames exchanged, and is asked to."""

    def set_usual(self, scale: float = 1.0, tta: bool = False, tile: int | None = None, ensemble: bool = False) -> Self:
        """What `interpolate` does unless told otherwise."""
        sized_inference.check_settings(self, scale, tta, tile)  # type: ignore[arg-type]
        self.check_ensemble(ensemble)
        self.scale, self.tta, self.tile, self.ensemble = scale, tta, tile, ensemble
        return self

    def _usually(self, scale: float | None, tta: bool | None, tile: int | None) -> tuple[float, bool, int | None]:
        """With what set_usual said in place of None."""
        return (
            self.scale if scale is None else scale,
            self.tta if tta is None else tta,
            self.tile if tile is None else tile,
        )

    def why_not_exported(self, size: tuple[int, int] | None, dtype: torch.dtype) -> str | None:
        """By what set_usual said."""
        if self.tile is not None:
            return "`tile` cuts pictures of which it must know the size: leave it out"
        return "`tta` is two runs: leave it out" if self.tta else None

    def interpolate_many(self, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[Tensor]:
        """`interpolate` at several times."""
        several = sized_inference.several_times(times)
        return list(self.interpolate(frame0, frame1, several))  # type: ignore[arg-type]
