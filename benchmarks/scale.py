"""`vfi interpolate --ray`: what it costs here, and what would become of it on many nodes.

`python benchmarks/scale.py --measure --json FILE`: a film of 20 segments by the plain command and on a cluster of this
machine with one and with two workers of one thread, in turns; and what the driver spends on a task. Ray binds the
machine's own interface: `unshare -n` with its loopback up keeps all of it inside.

`python benchmarks/scale.py --simulate FILE`: with these figures and the assumptions of `Setting`, films are handed out
as vfi.commands.cluster.films does, to 10, 100 and 1,000 nodes of which some vanish. `--write` puts both tables into
docs/scale.md.
"""

import argparse
import heapq
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from vfi.commands.cluster.films import AHEAD, LIGHT, WAITING
from vfi.commands.cluster.nodes import MOST_RUNS
from vfi_kernels.bench.report import between_marks, markdown_table, text_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
MEASURED = "<!-- measured: written by benchmarks/scale.py -->\n", "<!-- end of what was measured -->\n"
SIMULATED = "<!-- simulated: written by benchmarks/scale.py -->\n", "<!-- end of what was simulated -->\n"
SEGMENTS, SECONDS, SIZE = 20, 4, (640, 360)
TASKS = (200, 4000)  # that the driver waits for at once
MB = 1e6
Task = tuple[str, int, int]  # plan, part or join; of which film; which part


def film(path: Path) -> None:
    """Moving noise, so that neither the model nor the encoder has it easy."""
    from vfi.video.encoder import Picture
    from vfi.video.encodings import Encoding
    from vfi.video.writer import VideoWriter

    rate = Fraction(12)
    width, height = SIZE
    base = np.random.default_rng(0).integers(0, 255, (height // 8 + 30, width // 8 + 60, 3), np.uint8)
    large = np.kron(base, np.ones((8, 8, 1), np.uint8))
    writer = VideoWriter(path, Picture(width, height, rate, 1 / rate), Encoding(crf=20))
    for number in range(int(SEGMENTS * SECONDS * rate)):
        at = number % 60
        writer.write(np.ascontiguousarray(large[at : at + height, 3 * at : 3 * at + width]), number / rate)
    writer.finish()


def run(arguments: Sequence[str]) -> float:
    """Seconds of a command, from its start to its end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    begun = time.monotonic()
    subprocess.run([sys.executable, "-m", "vfi", "interpolate", *arguments], check=True, env=environment,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return time.monotonic() - begun


def measured(rounds: int) -> dict[str, object]:
    """In seconds; see this file's head."""
    from ray.cluster_utils import Cluster

    found: dict[str, list[float]] = {"plain": [], "one worker": [], "two workers": []}
    with tempfile.TemporaryDirectory() as folder:
        source, output = f"{folder}/in.mp4", f"{folder}/out.mp4"
        film(Path(source))
        common = [source, "-o", output, "--overwrite", "--quiet", "--segment", str(SECONDS), "--encoder-option",
                  "threads=1"]  # fmt: skip
        for _ in range(rounds):
            found["plain"].append(run(common))
            for name, workers in (("one worker", 1), ("two workers", 2)):
                cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
                for _ in range(workers):
                    cluster.add_node(num_cpus=1)
                found[name].append(run([*common, "--ray", cluster.address, "--ray-resources", "CPU=1"]))
                cluster.shutdown()
        size = Path(output).stat().st_size
    medians = {name: statistics.median(values) for name, values in found.items()}
    return {**medians, "bytes": size, "frames": 2 * SEGMENTS * SECONDS * 12, "driver": driver_costs()}


def driver_costs() -> dict[str, float]:
    """Seconds of the driver for a task that does nothing, by how many it waits for at once."""
    import ray

    ray.init(address="local", num_cpus=1, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    nothing = ray.remote(num_cpus=0.01, max_retries=MOST_RUNS - 1)(int)
    ray.get([nothing.remote() for _ in range(100)])
    costs = {}
    for count in TASKS:
        begun = time.process_time()
        left = [nothing.remote() for _ in range(count)]
        while left:
            ready, left = ray.wait(left, num_returns=len(left), timeout=WAITING)
            ray.get(ready)
        costs[str(count)] = (time.process_time() - begun) / count
    ray.shutdown()
    return costs


@dataclass(frozen=True)
class Setting:
    """What is assumed beside what was measured. A film is cut into parts of `segment` seconds of the output."""

    nodes: int = 100
    slots: int = 4  # tasks on a node at once
    films: int = 10_000
    minutes: float = 42.0
    segment: float = 60.0
    pace: float = 1.0  # seconds of work for a second of film
    starting: float = 12.0  # seconds until a fresh worker has loaded torch and the model
    life: float = 6 * 3600.0  # seconds that a node lives, in the mean
    replaced: float = 180.0  # seconds until another stands in
    source: float = 0.8 * MB  # bytes a second of film
    output: float = 1.6 * MB
    network: float = 125 * MB  # bytes a second of a node
    block: float = 4 * MB  # bytes that a request reads
    state: float = 2_000.0  # bytes of a task that the driver knows of
    light: float = LIGHT  # of a slot that a join takes
    bounded: bool = True  # films are planned as their parts find room


@dataclass
class Result:
    seconds: float = 0.0
    work: float = 0.0
    lost: float = 0.0
    driver: float = 0.0
    moved: float = 0.0
    requests: float = 0.0
    failed: int = 0
    most_known: int = 0
    runs: dict[tuple[int, int], int] = field(default_factory=dict)


class Nodes:
    """Which have room. A task takes a whole slot, a join, which only moves bytes, `light` of one."""

    def __init__(self, given: Setting, chance: random.Random) -> None:
        self._given, self._chance = given, chance
        self.room = [float(given.slots)] * given.nodes
        self.dies = [chance.expovariate(1 / given.life) for _ in range(given.nodes)]
        self.fresh = [given.slots] * given.nodes  # workers that have loaded nothing yet
        self._open = {1.0: set(range(given.nodes)), given.light: set(range(given.nodes))}

    def take(self, needs: float) -> int | None:
        """A node for a task, of which some room is gone then."""
        if not self._open[needs]:
            return None
        node = next(iter(self._open[needs]))
        self._change(node, -needs)
        return node

    def give_back(self, node: int, needs: float) -> None:
        self._change(node, needs)

    def renew(self, node: int, now: float) -> None:
        """Another stands in for one that has vanished."""
        if self.dies[node] <= now:
            self.dies[node] = now + self._given.replaced + self._chance.expovariate(1 / self._given.life)
            self.fresh[node] = self._given.slots

    def _change(self, node: int, by: float) -> None:
        self.room[node] += by
        for needs, nodes in self._open.items():
            (nodes.add if self.room[node] >= needs else nodes.discard)(node)


def simulated(given: Setting, cost: float, seed: int = 0) -> Result:
    """The films handed out as `films.Films` does: joins first, then parts, AHEAD tasks a slot; films are planned when
    what they bring would be handed out. cost: seconds of the driver for a task."""
    chance, result = random.Random(seed), Result()
    parts = max(1, round(given.minutes * 60 / given.segment))
    todo: deque[Task] = deque()
    queued: deque[Task] = deque()
    left, waiting = deque(range(given.films)), dict[int, int]()
    nodes, events = Nodes(given, chance), list[tuple[float, int, str, Task, int]]()
    clock = driver = 0.0
    order = running = plans = 0
    slots = given.nodes * given.slots

    def needs(task: Task) -> float:
        return given.light if task[0] == "join" else 1.0

    def duration(task: Task) -> float:
        length = given.segment if task[0] == "part" else given.minutes * 60
        share = {"plan": 0.01, "part": 1.0, "join": 1.0}[task[0]]
        moved = share * length * (given.output * (2 if task[0] == "join" else 1) + given.source)
        result.moved += moved
        result.requests += 10 + moved / given.block
        work = {"plan": 3.0, "part": length * given.pace * chance.uniform(0.8, 1.3), "join": 2.0}[task[0]]
        return work + moved / (given.network / given.slots)

    def start(task: Task, node: int, at: float) -> None:
        nonlocal order
        took = duration(task) + (given.starting if nodes.fresh[node] > 0 else 0.0)
        nodes.fresh[node] -= 1
        result.runs[task[1:]] = result.runs.get(task[1:], 0) + 1
        dies = nodes.dies[node]
        order += 1
        if at + took > dies:
            result.lost += max(0.0, dies - at) if task[0] == "part" else 0.0
            heapq.heappush(events, (max(at, dies), order, "dead", task, node))
        else:
            result.work += took if task[0] == "part" else 0.0
            heapq.heappush(events, (at + took, order, "done", task, node))

    while left or todo or running:
        while running < AHEAD * slots and (
            todo or (left and (not given.bounded or plans * parts + running < AHEAD * slots))
        ):
            if not todo:
                todo.append(("plan", left.popleft(), -1))
                plans += 1
            queued.append(todo.popleft())
            running += 1
            driver = max(driver, clock) + cost
            result.driver += cost
        result.most_known = max(result.most_known, running + len(todo))
        while queued and (node_found := nodes.take(needs(queued[0]))) is not None:
            start(queued.popleft(), node_found, max(clock, driver))
        clock, _, how, task, node = heapq.heappop(events)
        if how == "back":
            nodes.give_back(node, needs(task))
            continue
        if how == "dead":  # Ray runs it again, elsewhere; the room is back when the node is
            order += 1
            nodes.renew(node, clock)
            heapq.heappush(events, (clock + given.replaced, order, "back", task, node))
            if result.runs[task[1:]] < MOST_RUNS:
                queued.appendleft(task)
            else:
                running, result.failed = running - 1, result.failed + 1
                plans -= task[0] == "plan"
            continue
        nodes.give_back(node, needs(task))
        running -= 1
        kind, number, _ = task
        if kind == "plan":
            plans -= 1
            waiting[number] = parts
            todo.extend(("part", number, part) for part in range(parts))
        elif kind == "part":
            waiting[number] -= 1
            if waiting[number] == 0:
                del waiting[number]
                todo.appendleft(("join", number, -2))
    result.seconds = clock
    return result


def told(found: dict[str, object]) -> tuple[list[str], list[list[str]]]:
    """What was measured."""
    plain, one, two = (float(str(found[name])) for name in ("plain", "one worker", "two workers"))
    lines = [
        ["the plain command, one thread", f"{plain:.1f} s", ""],
        ["`--ray`, one worker of one thread", f"{one:.1f} s", f"{one / plain:.2f} of that, {one - plain:+.1f} s"],
        ["`--ray`, two workers of one thread", f"{two:.1f} s", f"{one / two:.2f} times as fast as one"],
    ]  # fmt: skip
    costs = found["driver"]
    assert isinstance(costs, dict)
    for count, cost in costs.items():
        lines.append(
            [
                f"the driver, {int(count):,} tasks at once",
                f"{1e3 * cost:.2f} ms a task",
                f"{1 / cost:,.0f} tasks a second",
            ]
        )
    return ["", "took", ""], lines


SETTINGS = {
    "10 nodes": Setting(nodes=10, films=200),
    "100 nodes": Setting(nodes=100, films=2_000),
    "1,000 nodes": Setting(nodes=1_000),
    "1,000 nodes, all stay": Setting(nodes=1_000, life=1e12),
    "1,000 nodes that live an hour": Setting(nodes=1_000, life=3600.0),
    "1,000 nodes, films of 30 s": Setting(nodes=1_000, films=400_000, minutes=0.5, segment=30.0),
    "1,000 nodes, as it was first": Setting(nodes=1_000, light=1.0, bounded=False),
}


def foretold(cost: float) -> tuple[list[str], list[list[str]]]:
    lines = []
    for name, given in SETTINGS.items():
        result = simulated(given, cost)
        whole = result.seconds * given.nodes * given.slots
        lines.append([
            name, f"{given.films:,}", f"{result.seconds / 3600:.1f} h", f"{100 * result.work / whole:.0f} %",
            f"{100 * result.lost / whole:.1f} %", f"{100 * result.driver / result.seconds:.1f} %",
            f"{result.most_known * given.state / MB:.0f} MB", f"{result.moved / 1e12:.1f} TB",
            f"{result.requests / 1e6:.1f} M", str(result.failed),
        ])  # fmt: skip
    head = ["", "films", "takes", "busy rendering", "lost with nodes", "driver busy", "driver's memory", "bytes moved",
            "requests", "tasks given up"]  # fmt: skip
    return head, lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="on this machine")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to keep what was measured")
    parser.add_argument("--simulate", type=Path, metavar="FILE", help="with what was kept there")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scale.md")
    options = parser.parse_args()
    if options.measure:
        found = measured(options.rounds)
        print(text_table(*told(found)))
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.simulate:
        found = json.loads(options.simulate.read_text())
        table = foretold(max(found["driver"].values()))
        print(text_table(*table))
        if options.write:
            page = between_marks(PAGE.read_text(), MEASURED, markdown_table(*told(found)))
            PAGE.write_text(between_marks(page, SIMULATED, markdown_table(*table)))


if __name__ == "__main__":
    main()
