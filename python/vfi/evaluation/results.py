"""Results that `vfi evaluate --json` has written: read, and compared before they stand in one table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vfi.data.datasets import DATASETS
from vfi.errors import UserError
from vfi.evaluation.kept_rows import different
from vfi.evaluation.outside_scores import Document, OutsideScores, merged
from vfi.files.json_files import parsed
from vfi.models.registry import MODELS, options_of_model
from vfi.options import Option, options_of

VARIANCE = "variance"
_SAME = frozenset(("code", "model", "weights", "smoothness_model", "smoothness_weights", "flow_model", "flow_weights"))
# What belongs to a data set, or to what was measured on it; results of one row may differ in it.
_OF_DATA = frozenset((
    "dataset", "split", "frames", "data", "measures", "missing", "lpips", "inception", "size", "ssim", "motion",
    "i3d", "flolpips", "flolpips_weights", "stlpips",
))  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One file. parts: measures by the name of a split, or of a number of frames; "" is all. counts: how many scenes a
    part has here, and as published; 0: not known. not_measured: why, by measure; measured_with: what is to be known.
    bounds: of the means of parts."""

    path: Path
    model: str
    dataset: str
    settings: Mapping[str, object]
    parts: Mapping[str, Mapping[str, float | None]]
    counts: Mapping[str, tuple[int, int]]
    not_measured: Mapping[str, str]
    measured_with: Mapping[str, str] = field(default_factory=dict)
    bounds: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)

    def chosen(self) -> dict[str, object]:
        """What was given of the model's options."""
        return {name: value for name, value in self.settings.items() if name in self._defaults()}

    def is_of(self, model: str | None, options: Mapping[str, object]) -> bool:
        """Whether it is of a model with these options, given or by default."""
        mine = {**self._defaults(), **self.settings}
        return self.model == model and all(str(mine.get(name)) == str(value) for name, value in options.items())

    def _known(self) -> tuple[Option, ...]:
        return options_of(options_of_model(self.model)) if self.model in MODELS else ()

    def _defaults(self) -> dict[str, object]:
        return {each.name: each.default for each in self._known()}

    def departures(self, expected: Mapping[str, object]) -> str:
        """What was given that a row does not ask for, and that is no file and no usual value, in words."""
        usual = self._defaults()
        usual["frames"] = DATASETS[self.dataset].frames if self.dataset in DATASETS else None
        silent = {*expected, *_SAME, *_OF_DATA} - {"frames", "size"}
        silent |= {each.name for each in self._known() if each.kind is Path}
        told = {name: value for name, value in self.settings.items() if name not in silent}
        return ", ".join(
            f"{name.replace('_', ' ')} {' '.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in told.items()
            if str(value) != str(usual.get(name))
        )

    @property
    def source(self) -> dict[str, object]:
        """What the figures depend on, whatever the data set."""
        return {name: value for name, value in self.settings.items() if name not in _OF_DATA}


def read_results(paths: Sequence[Path], scores: Sequence[OutsideScores] = ()) -> list[Result]:
    """The results in files, all of one code; of one model with the same options all of the same weights.

    Args:
        scores: of the frames of some of them, which count with these.

    Raises:
        UserError: if a file holds none, two have the same part of a data set, or they do not belong together.
    """
    results = [parsed(path, partial(_with_scores, path, scores), "results of `vfi evaluate`") for path in paths]
    for each in scores:
        if not any(each.is_of(result.settings) for result in results):
            first = f": of {different(each.made_with, results[0].settings)}" if len(results) == 1 else ""
            raise UserError(f"the scores in {each.path} are of other frames than those of these results{first}")
    for number, one in enumerate(results):
        for other in results[:number]:
            _check_together(other, one)
    return results


def _check_together(one: Result, other: Result) -> None:
    names = f"{one.path} and {other.path}"
    if one.settings.get("code") != other.settings.get("code"):
        apart = different({"code": one.settings.get("code")}, {"code": other.settings.get("code")})
        raise UserError(f"{names} do not belong into one table: {apart}; evaluate again by one of them")
    if one.source == other.source:
        twice = sorted(part for part in one.parts if part in other.parts and part != VARIANCE)
        if one.dataset == other.dataset and twice:
            what = f"{one.dataset} {twice[0]}".rstrip()
            raise UserError(f"{names} both hold {one.model} on {what}: give one of them")


def same_source(results: Sequence[Result]) -> None:
    """Refuses results that are to stand in one row and are not of the same weights and options."""
    for other in results[1:]:
        if other.source != results[0].source:
            apart = different(results[0].source, other.source)
            raise UserError(f"{results[0].path} and {other.path} do not belong into one row: {apart}")


def other_data(results: Sequence[Result]) -> list[str]:
    """A sentence of each two results that have the same parts of a data set, but of different files."""
    return [
        f"{one.path} and {other.path} are of different files of {one.dataset}: their figures do not compare"
        for number, other in enumerate(results)
        for one in results[:number]
        if (one.dataset, set(one.parts)) == (other.dataset, set(other.parts))
        and one.settings.get("data") != other.settings.get("data")
    ]


def _with_scores(path: Path, scores: Sequence[OutsideScores], document: Document) -> Result:
    for each in scores:
        if each.is_of(document["settings"]):
            document = merged(document, each, str(path))
    return parse(path, document)


def parse(path: Path, document: Document) -> Result:
    """What a file holds, once it is read."""
    texts = [document["model"], document["dataset"]]
    settings, clips = document["settings"], document.get("clips", {})
    reasons, notes = document.get("not_measured", {}), document.get("measured_with", {})
    means = document.get("means")
    by_frames, mean = document.get("frames"), document.get("mean")
    if not (isinstance(settings, dict) and isinstance(reasons, dict) and isinstance(clips, dict)):
        raise TypeError
    if not isinstance(notes, dict):
        raise TypeError
    if isinstance(means, dict):
        parts = {split: _numbers(values) for split, values in means.items()}
        counts = {split: (int(values["scenes"]), int(values["published"] or 0)) for split, values in means.items()}
        bounds = {split: values.get("bounds_95", {}) for split, values in means.items()}
    elif not (isinstance(by_frames, dict) and isinstance(mean, dict)):
        raise TypeError
    else:
        bounds = {}
        parts = {count: _numbers(values) for count, values in by_frames.items()}
        parts |= {"": _numbers(mean), VARIANCE: _variance(list(parts.values()))}
        counts = {count: (int(number), 0) for count, number in clips.items()}
        counts |= dict.fromkeys(("", VARIANCE), (sum(map(int, clips.values())), 0))
    return Result(path, str(texts[0]), str(texts[1]), settings, parts, counts, reasons, notes, bounds)


def _numbers(values: Mapping[str, object]) -> dict[str, float | None]:
    numbers = {name: value for name, value in values.items() if not isinstance(value, (dict, list))}
    return {name: None if value is None else float(str(value)) for name, value in numbers.items()}


def _variance(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Log10 of the variance of each measure over rows, as table A2 of SemFi has it: by all of them, not one fewer."""
    found: dict[str, float | None] = {}
    for name in rows[0] if rows else ():
        values = [value for row in rows if (value := row[name]) is not None]
        middle = sum(values) / len(values) if values else math.nan
        spread = sum((value - middle) ** 2 for value in values) / max(1, len(values))
        found[name] = math.log10(spread) if len(values) == len(rows) and 0 < spread < math.inf else None
    return found
