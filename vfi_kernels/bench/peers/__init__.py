"""What people run today instead of our ops, written as well as the plain torch or public package allows.

A module of this folder registers the peers of one or more ops; nothing else has to know of it.
"""

import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from vfi_kernels._types import Function, Op


def _suits_always(*arguments: object, **options: object) -> None:
    return None


def _as_they_are(*arguments: object, **options: object) -> tuple[object, ...]:
    return arguments


def _unchanged(result: Tensor) -> Tensor:
    return result


@dataclass(frozen=True)
class Peer:
    """A competitor of `op`: `call(*prepare(*arguments, **options), **options)` takes what our public function takes."""

    name: str
    op: str
    call: Function
    prepare: Callable[..., tuple[object, ...]] = _as_they_are  # not timed: what a fair user would keep between calls
    result: Op = _unchanged  # of `call`, as our op returns it; not timed
    unsuited: Callable[..., str | None] = _suits_always  # (*arguments, **options) -> why it cannot do this
    differentiable: bool = True
    compiles: bool = False  # takes seconds to start
    yardstick: bool = False  # computes something else of the same size


PEERS: defaultdict[str, list[Peer]] = defaultdict(list)  # op -> its peers, which it need not have


def register(peer: Peer) -> Peer:
    PEERS[peer.op].append(peer)
    return peer


def load_peers() -> defaultdict[str, list[Peer]]:
    """Imports every module of this folder and returns what they registered."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return PEERS
