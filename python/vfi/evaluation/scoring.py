"""Quality of a model on data sets whose true middle frames are known."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vfi.data.datasets import TrueTriplet, scenes
from vfi.evaluation import metrics
from vfi.files.images import read_frames, to_array, to_tensor
from vfi.models.interpolator import Interpolator, interpolate_many

Compare = Callable[[np.ndarray, np.ndarray], metrics.Quality]

# The metrics that a data set is reported with; the others use `metrics.compare`.
METRICS: dict[str, Compare] = {
    "vimeo90k": metrics.compare_volume,
    "snu-film": metrics.compare_volume,
    "xiph": metrics.compare_uniform,
}


@dataclass(frozen=True)
class Score:
    name: str
    quality: metrics.Quality
    seconds: float


def evaluate(model: Interpolator, dataset: str, root: Path, device: str, split: str | None = None) -> Iterator[Score]:
    """The score of each scene, in the data set's order; times include optical flow, not the disk."""
    for scene in scenes(dataset, root, split):
        yield score(model, dataset, scene, device)


def show(true_scenes: Sequence[TrueTriplet], found: Iterable[Score]) -> None:
    """Prints a line per scene as its score is found, in their order, and the means of each split."""
    splits = list(dict.fromkeys(scene.split for scene in true_scenes))
    width = max(len(name) for name in (*(scene.name for scene in true_scenes), *map(_mean_of, splits)))
    print(f"{'scene':{width}}  {'PSNR dB':>8}  {'SSIM':>7}  {'seconds':>7}")
    scores: dict[str, list[Score]] = {name: [] for name in splits}
    for scene, each in zip(true_scenes, found, strict=True):
        scores[scene.split].append(each)
        print(_line(each, width), flush=True)
    for name in splits:
        print(_line(_mean(name, scores[name]), width))


def score(model: Interpolator, dataset: str, scene: TrueTriplet, device: str) -> Score:
    first, truth, second = read_frames(scene.paths, scene.prepare)
    frame0, frame1 = to_tensor(first, device), to_tensor(second, device)
    start = time.perf_counter()
    result = to_array(interpolate_many(model, frame0, frame1, [0.5])[0], truth.dtype)
    seconds = time.perf_counter() - start
    return Score(scene.name, METRICS.get(dataset, metrics.compare)(result, truth), seconds)


def _mean(split: str, scores: Sequence[Score]) -> Score:
    values = torch.tensor([(s.quality.psnr, s.quality.ssim, s.seconds) for s in scores], dtype=torch.float64)
    psnr, ssim, seconds = values.mean(0).tolist()
    return Score(_mean_of(split), metrics.Quality(psnr, ssim), seconds)


def _mean_of(split: str) -> str:
    return f"mean {split}".rstrip()


def _line(score: Score, width: int) -> str:
    return f"{score.name:{width}}  {score.quality.psnr:8.2f}  {score.quality.ssim:7.4f}  {score.seconds:7.3f}"
