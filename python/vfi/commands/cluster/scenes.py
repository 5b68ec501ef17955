"""`vfi evaluate --ray`: the scenes of a data set over a cluster, in their order."""

import argparse
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vfi.commands.cluster import nodes
from vfi.commands.cluster.films import AHEAD, Answer, answered
from vfi.commands.cluster.work import models_of
from vfi.data.datasets import TrueTriplet, scenes
from vfi.errors import UserError
from vfi.evaluation import scoring
from vfi.files.places import StorageTrouble

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
        submit = cluster.task(answered, StorageTrouble)
        left = deque(range(first, min(first + TOGETHER, count)) for first in range(0, count, TOGETHER))
        running: deque[object] = deque()
        most = AHEAD * max(1, cluster.slots())
        try:
            while left or running:
                while left and len(running) < most:
                    running.append(submit(of_node, Some(options, left.popleft())))
                yield from _taken(cluster.ray.get(running.popleft()))
        finally:
            nodes.ended(cluster.ray, list(running))


def _taken(answer: Answer) -> Sequence[scoring.Score]:
    if answer.failed is not None:
        raise UserError(answer.failed)
    assert isinstance(answer.value, list)
    return answer.value


def of_node(some: Some) -> list[scoring.Score]:
    """Scores of these scenes, on a node."""
    options = some.options
    ((model, device),) = models_of(options)
    known = _scenes(options.dataset, options.path, options.split)
    return [scoring.score(model, options.dataset, known[number], device) for number in some.numbers]


@cache
def _scenes(dataset: str, root: Path, split: str | None) -> Sequence[TrueTriplet]:
    return scenes(dataset, root, split)
