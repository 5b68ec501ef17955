"""What is kept of an evaluation: scores of clips, features and frames."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vfi.evaluation.kept_features import KeptFeatures
from vfi.evaluation.kept_rows import KeptRows, Row
from vfi.evaluation.written_frames import frame_file, write_frames

# What is measured, and its name in the table.
COLUMNS = {
    "lpips": "LPIPS", "fid": "FID", "psnr": "PSNR", "ssim": "SSIM", "end_lpips": "LPIPS 1,N", "semantic": "semantic",
    "flickering": "TF", "smoothness": "MS", "dynamic": "DD", "aesthetic": "AQ", "imaging": "IQ",
}  # fmt: skip


class Kept:
    """Scores of clips, and features of their frames, in a folder; and the frames in another. None: nothing is kept.

    The other arguments are those of `KeptRows`.
    """

    def __init__(
        self, folder: Path | None, settings: Mapping[str, object], frames: Path | None = None, *, resume: bool = False
    ) -> None:
        self.frames, self._features = frames, KeptFeatures(folder)
        self._rows = KeptRows(folder, settings, frozenset(COLUMNS), resume=resume)

    def scores(self, index: int) -> Row | None:
        """Of a clip; None: it is to be made."""
        path = self._frames(index)
        return self._rows.rows.get(index) if path is None or path.is_file() else None

    def features(self, index: int) -> Tensor | None:
        """Of the true frames and of those made, (2, N, D)."""
        return self._features.read(index)

    def write(self, index: int, frames: Tensor, fps: float) -> None:
        """The frames of a clip, (N, 3, H, W) uint8, if they are asked for."""
        path = self._frames(index)
        if path is not None:
            write_frames(path, list(frames.permute(0, 2, 3, 1).contiguous().numpy()), fps)

    def add(self, index: int, scores: Row, features: Tensor | None) -> Row:
        """The scores that count: those that were there, or else these."""
        if features is not None:
            self._features.write(index, features)
        if index not in self._rows.rows:
            self._rows.add(index, scores)
        return self._rows.rows[index]

    def named(self, index: int) -> dict[str, str]:
        """The file of the frames of a clip, for a row of scores."""
        path = self._frames(index)
        return {} if path is None or self.frames is None else {"file": path.relative_to(self.frames).as_posix()}

    def close(self) -> None:
        self._rows.close()

    def _frames(self, index: int) -> Path | None:
        return None if self.frames is None else frame_file(self.frames, "", index, "clip", several=True)
