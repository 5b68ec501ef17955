"""Quality of a model on data sets whose true frames between are known."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from vfi.data.datasets import scenes
from vfi.data.truth import TrueScene
from vfi.evaluation.metrics import MEASURES, Measure
from vfi.files.images import to_array, to_tensor
from vfi.models.interpolator import Interpolator, interpolate_many

# The measures that a data set is reported with, if not USUAL.
USUAL = ("psnr", "ssim_gaussian")
METRICS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("vimeo90k", "vimeo90k-septuplet", "snu-film", "ucf101", "x4k1000fps"), ("psnr", "ssim_volume")),
    "xiph": ("psnr", "ssim_uniform", "ssim_volume"),
    "hd": ("psnr_y", "psnr", "ssim_volume"),
}
Written = Callable[[int, Sequence[np.ndarray]], object]  # a scene's number, and all its frames, the ends given
# Of all frames of a scene as made, the ends given, and as they are.
SceneMeasure = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], float]
Features = Callable[[Sequence[np.ndarray]], Tensor]  # of all frames of a scene, (N, D)
THREADS, AHEAD = 4, 8  # that read or measure beside a GPU; scenes that wait for it, or behind it

Given = TypeVar("Given")
Read = TypeVar("Read")
Made = TypeVar("Made")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Score:
    """Of a scene. values: by the names of TITLES, means over the frames between. seconds: of a frame between. features:
    what is asked for, by name, of what is true and of what was made, (2, N, D)."""

    name: str
    values: dict[str, float]
    seconds: float
    features: Mapping[str, Tensor] = field(default_factory=dict)


def measures_of(dataset: str, kinds: Sequence[str] | None = None) -> dict[str, Measure]:
    """What it is reported with. kinds: of SSIM, in place of its own."""
    names = METRICS.get(dataset, USUAL)
    if kinds is not None:
        names = (*(name for name in names if "ssim" not in name), *(f"ssim_{kind}" for kind in dict.fromkeys(kinds)))
    return {name: MEASURES[name] for name in names}


def evaluate(model: Interpolator, dataset: str, root: Path, device: str, split: str | None = None) -> Iterator[Score]:
    """The score of each scene, in the data set's order; times include optical flow, not the disk."""
    known = scenes(dataset, root, split)
    return scores(model, known, range(len(known)), measures_of(dataset), device)


def scores(
    model: Interpolator,
    known: Sequence[TrueScene],
    numbers: Iterable[int],
    measures: Mapping[str, Measure],
    device: str,
    written: Written | None = None,
    of_scenes: Mapping[str, SceneMeasure] | None = None,
    features: Mapping[str, Features] | None = None,
    threads: int | None = None,
) -> Iterator[Score]:
    """Of some scenes, by their numbers, in this order.

    Args:
        written: is given the frames of each scene before its score is.
        of_scenes: further values of scores, which depend on all frames.
        features: which scores then have.
        threads: that read the scenes to come, and as many that measure those that are made, while the model works; 0:
            one after the other. None: on a CPU, which the model has to itself while it is timed, the next scene is read
            while the last one is measured.
    """

    def read(number: int) -> tuple[int, list[np.ndarray]]:
        return number, known[number].read()

    def made(frames: tuple[int, list[np.ndarray]]) -> tuple[int, list[np.ndarray], list[np.ndarray], float]:
        return *frames, *between(model, frames[1], known[frames[0]].times, device)

    def measured(one: tuple[int, list[np.ndarray], list[np.ndarray], float]) -> Score:
        number, truth, found, seconds = one
        if written is not None:
            written(number, [truth[0], *found, truth[-1]])
        values = compared(found, truth[1:-1], measures)
        both = truth, [truth[0], *found, truth[-1]]
        values |= {name: measure(both[1], both[0]) for name, measure in (of_scenes or {}).items()}
        seen = {name: torch.stack([each(frames) for frames in both]) for name, each in (features or {}).items()}
        return Score(known[number].name, values, seconds / len(found), seen)

    if threads is None and device == "cpu":
        return _in_turn(read, made, measured, numbers)
    threads = THREADS if threads is None else threads
    return in_threads(measured, map(made, in_threads(read, numbers, threads)), threads)


def _in_turn(
    read: Callable[[int], Read], made: Callable[[Read], Made], measured: Callable[[Made], Found], numbers: Iterable[int]
) -> Iterator[Found]:
    """What `measured` finds of each number; nothing else runs while one is made."""
    with ThreadPoolExecutor(2) as pool:
        left = iter(numbers)
        reading = [pool.submit(read, number) for number in islice(left, 1)]
        measuring: list[Future[Found]] = []
        while reading:
            (given,) = (each.result() for each in reading)
            yield from (each.result() for each in measuring)
            measuring = [pool.submit(measured, made(given))]
            reading = [pool.submit(read, number) for number in islice(left, 1)]
        yield from (each.result() for each in measuring)


def between(
    model: Interpolator, frames: Sequence[np.ndarray], times: Sequence[float], device: str
) -> tuple[list[np.ndarray], float]:
    """What the model makes of the first and the last of the frames, in their depth, and the seconds that it takes."""
    frame0, frame1 = to_tensor(frames[0], device), to_tensor(frames[-1], device)
    start = time.perf_counter()
    found = [to_array(frame, frames[0].dtype) for frame in interpolate_many(model, frame0, frame1, times)]
    return found, time.perf_counter() - start


def compared(
    found: Sequence[np.ndarray], truth: Sequence[np.ndarray], measures: Mapping[str, Measure]
) -> dict[str, float]:
    """The mean of each measure over the frames."""
    pairs = list(zip(found, truth, strict=True))
    return {name: float(np.mean([measure(*pair) for pair in pairs])) for name, measure in measures.items()}


def in_threads(function: Callable[[Given], Found], given: Iterable[Given], threads: int) -> Iterator[Found]:
    """`function` of each, in their order; AHEAD are begun before they are asked for. 0 threads: in this one."""
    if threads == 0:
        yield from map(function, given)
        return
    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future[Found]] = deque()
        try:
            for each in given:
                running.append(pool.submit(partial(function, each)))
                if len(running) > AHEAD:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for one in running:
                one.cancel()
