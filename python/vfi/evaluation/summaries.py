"""What scores of many scenes come to: means, how certain they are, and how they depend on motion."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vfi.data.truth import TrueScene
from vfi.evaluation.metrics import TITLES
from vfi.evaluation.scoring import Score
from vfi.files.images import to_tensor
from vfi.models.flow_by_name import load_flow

SAMPLES = 1000  # of the bootstrap
PARTS = 4  # by motion: quarters
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Summary:
    """Of scenes of one split. bounds: in which the means of measures lie with 95 %, for those that are finite.
    by_motion: the scenes in parts of even size, by how much moves in them; empty if that was not measured."""

    scenes: int
    values: dict[str, float]
    seconds: float
    bounds: dict[str, Bounds]
    by_motion: tuple["Summary", ...] = ()

    def as_numbers(self) -> dict[str, float]:
        return {**self.values, "seconds": self.seconds}


def summaries(scenes: Sequence[TrueScene], found: Sequence[Score]) -> dict[str, Summary]:
    """Of each split, in their order."""
    by_split: dict[str, list[Score]] = {scene.split: [] for scene in scenes}
    for scene, score in zip(scenes, found, strict=True):
        by_split[scene.split].append(score)
    return {split: summary(scores) for split, scores in by_split.items()}


def summary(scores: Sequence[Score]) -> Summary:
    """Of some scenes, one or more."""
    parts: list[Sequence[Score]] = []
    if "motion" in scores[0].values and len(scores) >= PARTS:
        slower_first = sorted(scores, key=lambda score: score.values["motion"])
        ends = [len(scores) * part // PARTS for part in range(PARTS + 1)]
        parts = [slower_first[first:end] for first, end in pairwise(ends)]
    return Summary(*_basics(scores), tuple(Summary(*_basics(part)) for part in parts))


def _basics(scores: Sequence[Score]) -> tuple[int, dict[str, float], float, dict[str, Bounds]]:
    columns = {name: np.array([score.values[name] for score in scores]) for name in scores[0].values}
    values = {name: float(column.mean()) for name, column in columns.items()}
    return len(scores), values, float(np.mean([score.seconds for score in scores])), bootstrapped(columns)


def bootstrapped(columns: Mapping[str, np.ndarray]) -> dict[str, Bounds]:
    """In which the means of columns of numbers lie with 95 %: percentiles of the means of SAMPLES draws of as many
    rows, with replacement, the same draws each time. Nothing of a single row, and of columns that are not finite."""
    count = max((len(column) for column in columns.values()), default=0)
    if count < 2:
        return {}
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), SAMPLES) / count
    finite = {name: column for name, column in columns.items() if np.isfinite(column).all()}
    bounds = {name: np.quantile(draws @ column, (0.025, 0.975)) for name, column in finite.items()}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}


def motion(made: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float:
    """How far pixels move from the first frame of a scene to the last, (H, W, 3) each, on average: px, by DIS."""
    flow = load_flow("dis")(to_tensor(truth[0]), to_tensor(truth[-1]))
    return float(flow.norm(dim=1).mean())


def show(scenes: Sequence[TrueScene], found: Iterable[Score], names: Sequence[str]) -> list[Score]:
    """Prints a line per scene as its score is found, in their order, and what they come to for each split. names: of
    the values of scores."""
    labels = [f"mean {split}".rstrip() for split in dict.fromkeys(scene.split for scene in scenes)]
    width = max(map(len, (*(scene.name for scene in scenes), *labels, _part(PARTS))))
    print(f"{'scene':{width}}  {'  '.join(f'{TITLES[name]:>8}' for name in names)}  {'seconds':>7}")
    scores = []
    for each in found:
        scores.append(each)
        print(_line(each.name, each.values, f"{each.seconds:7.3f}", width), flush=True)
    for label, of_split in zip(labels, summaries(scenes, scores).values()):
        print(_line(label, of_split.values, f"{of_split.seconds:7.3f}", width))
        for number, words in enumerate(("  95 % from", "  95 % to")):
            if of_split.bounds:
                bounds = {name: of_split.bounds.get(name, (np.nan, np.nan))[number] for name in names}
                print(_line(words, bounds, "", width))
        for number, part in enumerate(of_split.by_motion, 1):
            print(_line(_part(number), part.values, f"{part.seconds:7.3f}", width))
    return scores


def _part(number: int) -> str:
    return f"  quarter {number} by motion"


def _line(label: str, values: Mapping[str, float], seconds: str, width: int) -> str:
    cells = [f"{value:{max(8, len(TITLES[name]))}.{_digits(name)}f}" for name, value in values.items()]
    return f"{label:{width}}  {'  '.join(cells)}  {seconds}".rstrip()


def _digits(name: str) -> int:
    return 2 if "psnr" in name or name == "motion" else 4
