"""One function over many things on a cluster, the results in the order of the things."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from vfi.commands.cluster import nodes
from vfi.commands.cluster.films import AHEAD, Answer, answered
from vfi.commands.program import note
from vfi.errors import UserError
from vfi.files.places import StorageTrouble


def in_order(cluster: nodes.Cluster, function: Callable[..., object], given: Iterable[object]) -> Iterator[object]:
    """`function` of each, AHEAD for each task that the cluster holds at once.

    Raises:
        UserError: of the first one that fails, whatever was tried.
    """
    submit = cluster.task(answered, StorageTrouble)
    left, running = iter(given), deque[object]()
    most = AHEAD * max(1, cluster.slots())
    try:
        while True:
            for each in left:
                running.append(submit(function, each))
                if len(running) >= most:
                    break
            if not running:
                return
            yield _taken(cluster, running.popleft())
    finally:
        nodes.ended(cluster.ray, list(running))


def _taken(cluster: nodes.Cluster, task: object) -> object:
    try:
        answer = cluster.ray.get(task)
    except Exception as error:
        raise UserError(nodes.said_of(error)) from error
    assert isinstance(answer, Answer)
    for text in answer.notes:
        note(text)
    if answer.failed is not None:
        raise UserError(answer.failed)
    return answer.value
