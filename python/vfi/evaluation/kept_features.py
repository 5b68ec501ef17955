"""Features of scenes, kept in a folder, from which a Frechet distance is found again after a stop."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vfi.files.atomic import written_whole


class KeptFeatures:
    """By the numbers of scenes; without a folder nothing is kept. name: of what they are for, a word of each file."""

    def __init__(self, folder: Path | None, name: str = "fid") -> None:
        self.folder, self.name = folder, name

    def read(self, number: int) -> Tensor | None:
        """Of what is true and of what was made, (2, N, D); None: there are none."""
        path = self._place(number)
        return torch.from_numpy(np.load(path, allow_pickle=False)) if path is not None and path.is_file() else None

    def write(self, number: int, features: Tensor) -> None:
        path = self._place(number)
        if path is not None:
            with written_whole(path) as temporary, temporary.open("wb") as file:
                np.save(file, features.float().numpy(), allow_pickle=False)

    def _place(self, number: int) -> Path | None:
        return None if self.folder is None else self.folder / f"{self.name}-{number:06}.npy"
