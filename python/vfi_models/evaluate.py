"""Quality of a model on folders of frames whose true middle frame is known."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from vfi_models import metrics
from vfi_models.errors import UserError
from vfi_models.images import read_image, to_array, to_tensor
from vfi_models.registry import Interpolator, interpolate_many

# Per data set: first frame, true middle frame, second frame, in every folder of the data set.
LAYOUTS = {
    "middlebury": ("frame10.png", "frame10i11.png", "frame11.png"),
    "triplets": ("im1.png", "im2.png", "im3.png"),
}


@dataclass(frozen=True)
class Score:
    name: str
    quality: metrics.Quality
    seconds: float


def scenes(dataset: str, root: Path) -> list[Path]:
    """The folders below `root` that hold the data set's three files."""
    names = LAYOUTS[dataset]
    found = sorted(
        path.parent for path in root.rglob(names[0]) if all((path.parent / name).is_file() for name in names)
    )
    if not found:
        raise UserError(f"no scene found: expected folders with {', '.join(names)} below {root}")
    return found


def evaluate(model: Interpolator, dataset: str, root: Path, device: str) -> Iterator[Score]:
    """The score of each scene, in the order of the folders' names; times include optical flow, not the disk."""
    for folder in scenes(dataset, root):
        first, truth, second = (read_image(folder / name).rgb for name in LAYOUTS[dataset])
        if not first.shape == truth.shape == second.shape:
            raise UserError(f"the three frames of {folder} differ in size")
        frame0, frame1 = to_tensor(first, device), to_tensor(second, device)
        start = time.perf_counter()
        result = to_array(interpolate_many(model, frame0, frame1, [0.5])[0], truth.dtype)
        seconds = time.perf_counter() - start
        yield Score(str(folder.relative_to(root)), metrics.compare(result, truth), seconds)


def run(model: Interpolator, dataset: str, root: Path, device: str) -> None:
    """Prints a line per scene and the means."""
    width = max(len(str(path.relative_to(root))) for path in scenes(dataset, root))
    print(f"{'scene':{width}}  {'PSNR dB':>8}  {'SSIM':>7}  {'seconds':>7}")
    scores = []
    for score in evaluate(model, dataset, root, device):
        scores.append(score)
        print(_line(score.name, score, width), flush=True)
    means = torch.tensor([(s.quality.psnr, s.quality.ssim, s.seconds) for s in scores], dtype=torch.float64).mean(0)
    print(_line("mean", Score("mean", metrics.Quality(float(means[0]), float(means[1])), float(means[2])), width))


def _line(name: str, score: Score, width: int) -> str:
    return f"{name:{width}}  {score.quality.psnr:8.2f}  {score.quality.ssim:7.4f}  {score.seconds:7.3f}"
