"""Frechet distances of all that a model makes of a split from what is true: FID of frames, FVD of videos."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vfi.evaluation.kept_features import KeptFeatures
from vfi.evaluation.sfibench.frechet import Moments, distance

UNBIASED = {"fid": True, "fvd": False}  # covariances, as pytorch-fid and cd-fvd have them
COUNTED = {"fid": "frames", "fvd": "videos"}
DIGITS = {"fid": 3, "fvd": 2}


class Distances:
    """Gathers features of scenes.

    Args:
        names: "fid" or "fvd".
        folder: where the features are kept; None: until they are added only.
    """

    def __init__(self, names: tuple[str, ...], folder: Path | None) -> None:
        self._kept = {name: KeptFeatures(folder, name) for name in names}
        self._moments: dict[str, dict[str, tuple[Moments, Moments]]] = {name: {} for name in names}
        self._waiting: dict[int, Mapping[str, Tensor]] = {}

    def lacks(self, number: int) -> bool:
        """Whether features of a scene are to be found again."""
        return any(kept.read(number) is None for kept in self._kept.values())

    def keep(self, number: int, features: Mapping[str, Tensor]) -> None:
        """Of a scene, by their names, those of what is true and of what was made: (2, N, D)."""
        for name, kept in self._kept.items():
            kept.write(number, features[name])
        self._waiting[number] = features

    def add(self, number: int, split: str) -> None:
        """Counts the features of a scene, which are kept."""
        waiting = self._waiting.pop(number, {})
        for name, kept in self._kept.items():
            features = waiting[name] if name in waiting else kept.read(number)
            assert features is not None
            for moments, part in zip(self._moments[name].setdefault(split, (Moments(), Moments())), features.float()):
                moments.add(part)

    def found(self) -> dict[str, dict[str, float | None]]:
        """By their names, of each split; None: it has fewer than 2."""
        return {name: {split: self._of(name, *both) for split, both in splits.items()}
                for name, splits in self._moments.items()}  # fmt: skip

    def _of(self, name: str, first: Moments, second: Moments) -> float | None:
        return distance(first, second, UNBIASED[name]) if first.count > 1 else None
