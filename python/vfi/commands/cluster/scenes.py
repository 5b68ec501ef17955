"""`vfi evaluate --ray`: the scenes of a data set over a cluster, in their order."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vfi.commands.cluster import nodes
from vfi.commands.cluster.in_order import in_order
from vfi.commands.cluster.work import models_of
from vfi.data.datasets import TrueTriplet, scenes
from vfi.evaluation import scoring

TOGETHER = 8  # scenes of a task


@dataclass(frozen=True)
class Some:
    """Scenes of a data set, by their numbers."""

    options: argparse.Namespace
    numbers: range


def scores(options: argparse.Namespace, count: int) -> Iterator[scoring.Score]:
    """Of `count` scenes.

    Raises:
        UserError: as `nodes.connected`; if a scene cannot be read, with its sentence.
    """
    with nodes.connected(options.ray, options.ray_resources) as cluster:
        nodes.check(cluster, nodes.files_of(options), [str(options.path)])
        some = (Some(options, range(first, min(first + TOGETHER, count))) for first in range(0, count, TOGETHER))
        for found in in_order(cluster, of_node, some):
            assert isinstance(found, list)
            yield from found


def of_node(some: Some) -> list[scoring.Score]:
    """Scores of these scenes, on a node."""
    options = some.options
    ((model, device),) = models_of(options)
    known = _scenes(options.dataset, options.path, options.split)
    return [scoring.score(model, options.dataset, known[number], device) for number in some.numbers]


@cache
def _scenes(dataset: str, root: Path, split: str | None) -> Sequence[TrueTriplet]:
    return scenes(dataset, root, split)
