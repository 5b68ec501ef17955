"""Films handed out to many nodes as vfi.commands.cluster.films does: what benchmarks/scale.py tells of a thousand."""

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

from vfi.commands.cluster.films import AHEAD, LIGHT
from vfi.commands.cluster.nodes import MOST_RUNS

MB = 1e6
Task = tuple[str, int, int]  # plan, part or join; of which film; which part


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
    """Seconds in all, of rendering, lost with nodes, of the driver; bytes, requests; tasks given up; the most that the
    driver knew of at once."""

    seconds: float = 0.0
    work: float = 0.0
    lost: float = 0.0
    driver: float = 0.0
    moved: float = 0.0
    requests: float = 0.0
    failed: int = 0
    most_known: int = 0


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
        self.change(node, -needs)
        return node

    def change(self, node: int, by: float) -> None:
        self.room[node] += by
        for needs, nodes in self._open.items():
            (nodes.add if self.room[node] >= needs else nodes.discard)(node)

    def renew(self, node: int, now: float) -> None:
        """Another stands in for one that has vanished."""
        if self.dies[node] <= now:
            self.dies[node] = now + self._given.replaced + self._chance.expovariate(1 / self._given.life)
            self.fresh[node] = self._given.slots


@dataclass
class Simulation:
    """Joins first, then parts, AHEAD tasks a slot; films are planned when what they bring would be handed out.

    cost: seconds of the driver for a task.
    """

    given: Setting
    cost: float
    seed: int = 0
    result: Result = field(default_factory=Result)

    def __post_init__(self) -> None:
        given = self.given
        self.chance = random.Random(self.seed)
        self.parts = max(1, round(given.minutes * 60 / given.segment))
        self.most = AHEAD * given.nodes * given.slots
        self.left, self.todo, self.queued = deque(range(given.films)), deque[Task](), deque[Task]()
        self.waiting, self.runs = dict[int, int](), dict[Task, int]()
        self.nodes, self.events = Nodes(given, self.chance), list[tuple[float, int, str, Task, int]]()
        self.clock = self.driver = 0.0
        self.order = self.running = self.plans = 0

    def run(self) -> Result:
        while self.left or self.todo or self.running:
            self.hand_out()
            while self.queued and (node := self.nodes.take(self.needs(self.queued[0]))) is not None:
                self.start(self.queued.popleft(), node)
            self.clock, _, how, task, node = heapq.heappop(self.events)
            if how == "back":
                self.nodes.change(node, self.needs(task))
            elif how == "dead":
                self.dead(task, node)
            else:
                self.done(task, node)
        self.result.seconds = self.clock
        return self.result

    def needs(self, task: Task) -> float:
        return self.given.light if task[0] == "join" else 1.0

    def hand_out(self) -> None:
        while self.running < self.most and (self.todo or self.may_plan()):
            if not self.todo:
                self.todo.append(("plan", self.left.popleft(), -1))
                self.plans += 1
            self.queued.append(self.todo.popleft())
            self.running += 1
            self.driver = max(self.driver, self.clock) + self.cost
            self.result.driver += self.cost
        self.result.most_known = max(self.result.most_known, self.running + len(self.todo))

    def may_plan(self) -> bool:
        known = self.plans * self.parts + self.running
        return bool(self.left) and (known < self.most or not self.given.bounded)

    def start(self, task: Task, node: int) -> None:
        at = max(self.clock, self.driver)
        took = self.duration(task) + (self.given.starting if self.nodes.fresh[node] > 0 else 0.0)
        self.nodes.fresh[node] -= 1
        self.runs[task] = self.runs.get(task, 0) + 1
        dies, is_part = self.nodes.dies[node], task[0] == "part"
        if at + took > dies:
            self.result.lost += is_part * max(0.0, dies - at)
            self.add(max(at, dies), "dead", task, node)
        else:
            self.result.work += is_part * took
            self.add(at + took, "done", task, node)

    def add(self, at: float, how: str, task: Task, node: int) -> None:
        self.order += 1
        heapq.heappush(self.events, (at, self.order, how, task, node))

    def duration(self, task: Task) -> float:
        """Seconds, with those in which bytes are moved."""
        given, kind = self.given, task[0]
        length = given.segment if kind == "part" else given.minutes * 60
        share = {"plan": 0.01, "part": 1.0, "join": 1.0}[kind]
        moved = share * length * (given.output * (2 if kind == "join" else 1) + given.source)
        self.result.moved += moved
        self.result.requests += 10 + moved / given.block
        work = {"plan": 3.0, "part": length * given.pace * self.chance.uniform(0.8, 1.3), "join": 2.0}[kind]
        return work + moved / (given.network / given.slots)

    def dead(self, task: Task, node: int) -> None:
        """Ray runs it again, elsewhere; the room is back when the node is."""
        self.nodes.renew(node, self.clock)
        self.add(self.clock + self.given.replaced, "back", task, node)
        if self.runs[task] < MOST_RUNS:
            self.queued.appendleft(task)
        else:
            self.running, self.result.failed = self.running - 1, self.result.failed + 1
            self.plans -= task[0] == "plan"

    def done(self, task: Task, node: int) -> None:
        self.nodes.change(node, self.needs(task))
        self.running -= 1
        kind, number, _ = task
        if kind == "plan":
            self.plans -= 1
            self.waiting[number] = self.parts
            self.todo.extend(("part", number, part) for part in range(self.parts))
        elif kind == "part":
            self.waiting[number] -= 1
            if self.waiting[number] == 0:
                del self.waiting[number]
                self.todo.appendleft(("join", number, -2))
