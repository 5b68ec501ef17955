"""Scores of written frames that other tools have found, in environments of their own: read, and put into results."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vfi.errors import UserError
from vfi.evaluation.summaries import bootstrapped
from vfi.files.json_files import parsed

NAMES = frozenset(("semantic", "flickering", "smoothness", "dynamic", "aesthetic", "imaging"))
Document = dict[str, object]  # results as `--json` has them


@dataclass(frozen=True)
class OutsideScores:
    """One file of `scripts/outside_scores.py`. made_with: the settings of the frames. values: by measure and file."""

    path: Path
    tool: str
    made_with: Mapping[str, object]
    values: Mapping[str, Mapping[str, float]]
    digests: Mapping[str, str]

    def is_of(self, settings: object) -> bool:
        """Whether frames of these settings were scored."""
        return bool(self.made_with == json.loads(json.dumps(settings)))


def read(path: Path) -> OutsideScores:
    """
    Raises:
        UserError: if the file holds no such scores, or one is no finite number.
    """
    found = parsed(path, partial(_parse, path), "scores of scripts/outside_scores.py")
    if not found.values or not set(found.values) <= NAMES:
        raise UserError(
            f"expected scores of {', '.join(sorted(NAMES))} in {path}, got {', '.join(found.values) or 'none'}"
        )
    return found


def _parse(path: Path, document: Document) -> OutsideScores:
    tool, rows, versions = str(document["tool"]), _rows(document["rows"]), _mapping(document["versions"])
    values: dict[str, dict[str, float]] = {}
    for row in rows:
        value, of_files = row["value"], values.setdefault(str(row["measure"]), {})
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise UserError(
                f"expected finite scores in {path}, got {value!r:.40} for {row['measure']} of {row['file']}"
            )
        if of_files.setdefault(str(row["file"]), float(value)) != value:
            raise UserError(f"{path} has two scores, {row['measure']}, of {row['file']}")
    digests = {str(row["file"]): str(row["sha256"]) for row in rows}
    return OutsideScores(path, f"{tool} {versions[tool]}", _mapping(document["made_with"]), values, digests)


def check_frames(scores: OutsideScores, folder: Path) -> None:
    """Refuses scores of files in the folder that have changed since."""
    for name, digest in scores.digests.items():
        try:
            same = hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        except OSError as error:
            raise UserError(f"cannot read {folder / name}: {error.strerror}") from error
        if not same:
            raise UserError(f"the scores in {scores.path} are of other frames: {folder / name} has changed since")


def merged(document: Document, scores: OutsideScores, whose: str) -> Document:
    """Results with these scores of their frames in the rows of scenes, and their means.

    Args:
        whose: the results, in sentences.

    Raises:
        UserError: if rows have no files, or scores are missing.
    """
    rows = _rows(document["scenes"])
    if not all("file" in row for row in rows):
        raise UserError(f"{whose} is of an evaluation without written frames: its rows have no files")
    result: Document = {**document, "scenes": [dict(row) for row in rows]}
    for name, values in scores.values.items():
        lacking = [str(row["file"]) for row in rows if row["file"] not in values]
        if lacking:
            raise UserError(
                f"{scores.path} lacks {name} of {len(lacking)} of {len(rows)} files: {lacking[0]} is the first"
            )
        result = _with_measure(result, name, values, scores.tool)
    return result


def means(document: Document, name: str) -> dict[str, float]:
    """Of a measure, by splits or by numbers of frames."""
    parts = _mapping(document["means"] if "means" in document else document["frames"])
    return {part: float(str(_mapping(mean)[name])) for part, mean in parts.items()}


def _with_measure(document: Document, name: str, values: Mapping[str, float], tool: str) -> Document:
    rows, means, by_frames = _rows(document["scenes"]), document.get("means"), document.get("frames")
    for row in rows:
        row[name] = values[str(row["file"])]
    found = dict(document)
    if isinstance(means, dict):
        found["means"] = {split: {**mean, **_of_rows([row for row in rows if row["split"] == split], name, mean)}
                          for split, mean in means.items()}  # fmt: skip
    elif isinstance(by_frames, dict):
        each = {
            count: float(np.mean([row[name] for row in rows if str(row["frames"]) == count])) for count in by_frames
        }
        found["frames"] = {count: {**mean, name: each[count]} for count, mean in by_frames.items()}
        found["mean"] = {**_mapping(document["mean"]), name: float(np.mean(list(each.values())))}
    reasons = _mapping(document.get("not_measured", {}))
    found["not_measured"] = {other: why for other, why in reasons.items() if other != name}
    return found | {"measured_with": {**_mapping(document.get("measured_with", {})), name: f"measured with {tool}"}}


def _of_rows(rows: Sequence[Document], name: str, mean: Document) -> Document:
    column = np.array([row[name] for row in rows], np.float64)
    bounds = {**_mapping(mean.get("bounds_95", {})), **bootstrapped({name: column})}
    return {name: float(column.mean()), "bounds_95": bounds}


def _mapping(value: object) -> Document:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _rows(value: object) -> list[Document]:
    if not isinstance(value, list):
        raise TypeError
    return [_mapping(row) for row in value]
