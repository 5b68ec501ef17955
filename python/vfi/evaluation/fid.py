"""The Frechet inception distance of all frames that a model makes of a split from the true ones."""

from pathlib import Path

from torch import Tensor

from vfi.evaluation.kept_features import KeptFeatures
from vfi.evaluation.sfibench.frechet import Moments, distance


class Fid:
    """Gathers features of scenes. folder: where they are kept; None: until they are added only."""

    def __init__(self, folder: Path | None) -> None:
        self._kept = KeptFeatures(folder)
        self._moments: dict[str, tuple[Moments, Moments]] = {}
        self._waiting: dict[int, Tensor] = {}

    def lacks(self, number: int) -> bool:
        """Whether the features of a scene are to be found again."""
        return self._kept.read(number) is None

    def keep(self, number: int, features: Tensor) -> None:
        """Of a scene, those of the true frames and of those made: (2, N, D)."""
        self._kept.write(number, features)
        self._waiting[number] = features

    def add(self, number: int, split: str) -> None:
        """Counts the features of a scene, which are kept."""
        features = self._waiting.pop(number, None)
        features = self._kept.read(number) if features is None else features
        assert features is not None
        for moments, part in zip(self._moments.setdefault(split, (Moments(), Moments())), features.float()):
            moments.add(part)

    def distances(self) -> dict[str, float | None]:
        """Of each split; None: it has fewer than 2 frames."""
        return {split: distance(*both) if both[0].count > 1 else None for split, both in self._moments.items()}
