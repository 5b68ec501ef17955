"""`vfi evaluate --ray`: the scenes of a data set over a cluster, in their order."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vfi.commands import measuring, scored
from vfi.commands.cluster import nodes
from vfi.commands.cluster.in_order import in_order
from vfi.commands.cluster.work import made_once, models_of
from vfi.data.datasets import scenes
from vfi.data.truth import TrueScene
from vfi.evaluation import scoring

TOGETHER = 8  # scenes of a task


@dataclass(frozen=True)
class Some:
    """Scenes of a data set, by their numbers."""

    options: argparse.Namespace
    numbers: Sequence[int]


def scores(options: argparse.Namespace, numbers: Sequence[int]) -> Iterator[scoring.Score]:
    """Of some scenes, by their numbers, in this order.

    Raises:
        UserError: as `nodes.connected`; if a scene cannot be read, with its sentence.
    """
    with nodes.connected(options.ray, options.ray_resources) as cluster:
        folders = [str(path) for path in (options.path, options.write_frames) if path is not None]
        nodes.check(cluster, nodes.files_of(options), folders)
        some = (Some(options, numbers[first : first + TOGETHER]) for first in range(0, len(numbers), TOGETHER))
        for found in in_order(cluster, of_node, some):
            assert isinstance(found, list)
            yield from found


def of_node(some: Some) -> list[scoring.Score]:
    """Scores of these scenes, on a node."""
    options = some.options
    ((model, device),) = models_of(options)
    known = _scenes(options.dataset, options.path, options.split, options.frames)
    by = made_once(_measuring, options, (), lambda: measuring.load(options, device))
    written = scored.writer(options, known)
    return list(scoring.scores(model, known, some.numbers, by.frames, device, written, by.scenes, by.features))


_measuring: dict[str, measuring.Measuring] = {}


@cache
def _scenes(dataset: str, root: Path, split: str | None, frames: int | None) -> Sequence[TrueScene]:
    return scenes(dataset, root, split, frames)
