"""`vfi interpolate --ray` without Ray: its tasks run here, one after the other, in any order."""

import pickle
import random
from collections.abc import Callable
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av

from vfi.commands.cluster import command, films, nodes
from vfi.commands.main import build_parser
from vfi.commands.program import exit_code

SLOTS = 3


class OneByOne:
    """In place of Ray. `done`: what was run, as (function, given). before: is called with both, and may raise."""

    def __init__(self, seed: int, before: Callable[[str, object], None] | None) -> None:
        self.done: list[tuple[str, object]] = []
        self._random, self._before = random.Random(seed), before
        self._calls: list[bytes] = []

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.done]

    def submit(self, *call: object) -> int:
        self._calls.append(pickle.dumps(call))
        return len(self._calls) - 1

    def wait(self, tasks: list[int], num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        return [self._random.choice(tasks)], []

    def get(self, task: int) -> object:
        function, given = pickle.loads(self._calls[task])
        self.done.append((function.__name__, given))
        if self._before is not None:
            self._before(function.__name__, given)
        return pickle.loads(pickle.dumps(films.answered(function, given)))

    def cancel(self, task: int, force: bool) -> None:
        pass


def run_in_parts(
    monkeypatch, *arguments: object, seed: int = 0, before: Callable[[str, object], None] | None = None
) -> tuple[int, OneByOne]:
    """The exit code of `vfi interpolate ... --ray`, and what ran."""
    with in_place_of_ray(monkeypatch, seed, before) as ray:
        words = ["interpolate", "--quiet", *map(str, arguments), "--ray"]
        code = exit_code("vfi", lambda: command.run(build_parser().parse_args(words)))
    return code, ray


@contextmanager
def in_place_of_ray(monkeypatch, seed: int = 0, before: Callable[[str, object], None] | None = None):
    """Inside, commands with `--ray` have their tasks run here."""
    ray = OneByOne(seed, before)
    cluster = SimpleNamespace(
        ray=ray, resources={"CPU": 1.0}, slots=lambda: SLOTS, task=lambda function, *again, **how: ray.submit
    )
    with monkeypatch.context() as patch:
        patch.setattr(nodes, "connected", lambda *_: _given(cluster))
        patch.setattr(nodes, "check", lambda *_: None)
        yield ray


class _given:
    def __init__(self, value: object) -> None:
        self.value = value

    def __enter__(self) -> object:
        return self.value

    def __exit__(self, *reason: object) -> None:
        pass


def packets(path: Path, kind: str = "video") -> list[tuple[Fraction, Fraction, bytes]]:
    """Of a file, to the last bit, with their times."""
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        found = [packet for packet in container.demux(streams) if packet.size]
        return [(p.pts * p.time_base, p.duration * p.time_base, bytes(p)) for p in found]
