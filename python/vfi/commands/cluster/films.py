"""What the driver does: hands out the work on videos, and tells how each has ended."""

import argparse
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

from vfi.commands import progress
from vfi.commands.cluster import joining, nodes, work
from vfi.commands.cluster.made import Made
from vfi.commands.cluster.parts import Parts, Record
from vfi.commands.program import has_written, listening, note, say, sentence_of
from vfi.commands.work_done import SomeFailed, tell
from vfi.commands.written import Written
from vfi.errors import Incomplete, UserError
from vfi.files.places import StorageTrouble, is_remote
from vfi.video.av_common import counted, name_of

LOOKED = 10.0  # seconds from one look at how large the cluster is to the next
WAITING = 0.5  # seconds in which Ray tells what has been done
AHEAD = 2  # tasks handed out for each that the cluster holds at once
LIGHT = 0.25  # of a task's CPUs: what joining parts asks for, which waits for bytes
USUAL_PARTS = 16  # of a film, until some were planned


@dataclass(frozen=True)
class Answer:
    """Of a task: what it made, or the sentence that ended it; and its notes."""

    value: object = None
    failed: str | None = None
    notes: tuple[str, ...] = ()


def answered(function: Callable[[object], object], given: object) -> Answer:
    """On a node. What a person can do something about is an answer; what may do at another time is raised, for Ray."""
    with listening() as heard:
        try:
            value = function(given)
        except StorageTrouble:
            raise
        except Exception as error:
            said = sentence_of(error)
            if said is None:
                raise
            return Answer(failed=said, notes=tuple(heard.notes))
    return Answer(value, notes=tuple(heard.notes))


@dataclass
class Going:
    """A film that has been begun: the parts it waits for."""

    planned: work.Planned
    waiting: set[int] = field(default_factory=set)
    again: bool = False


@dataclass
class Films:
    """The films of a run, in the order in which they are begun."""

    cluster: nodes.Cluster
    films: Sequence[work.Film]
    ends: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._submit: Callable[..., object] = self.cluster.task(answered, StorageTrouble)
        self._submit_join: Callable[..., object] = self.cluster.task(answered, StorageTrouble, light=LIGHT)
        self._planning = 0  # films
        self._parts = float(USUAL_PARTS)  # of a film, in the mean of late
        self._left = deque(range(len(self.films)))
        self._todo: deque[tuple[str, int, object]] = deque()
        self._running: dict[object, tuple[str, int, object]] = {}
        self._going: dict[int, Going] = {}
        self._most, self._looked = 0, -LOOKED
        self.expected: int | None = 0

    def frames(self) -> Iterator[None]:
        """Works, and gives something for each frame that is done."""
        try:
            while self._left or self._todo or self._running:
                self._hand_out()
                ready, _ = self.cluster.ray.wait(list(self._running), num_returns=len(self._running), timeout=WAITING)
                for each in ready:
                    for _ in range(self._take(each)):
                        yield None
        except KeyboardInterrupt:
            nodes.ended(self.cluster.ray, list(self._running))
            if any([self._is_kept(number) for number in self._going]):
                note("what is finished is kept: add --resume to go on")
            raise
        finally:
            nodes.ended(self.cluster.ray, list(self._running))
            for _, number, _ in self._running.values():
                Made.forget(self.films[number].job.output)

    def _hand_out(self) -> None:
        if monotonic() - self._looked > LOOKED:
            slots = self.cluster.slots()
            if not slots and self._most > 1:
                note("no node that could work is left: waiting for one; Ctrl-C ends")
            self._most, self._looked = max(1, AHEAD * slots), monotonic()
        while len(self._running) < self._most and (self._todo or self._may_plan()):
            if not self._todo:
                number = self._left.popleft()
                self._todo.append(("plan", number, self.films[number]))
                self._planning += 1
            what, number, given = self._todo.popleft()
            submit = self._submit_join if what == "join" else self._submit
            self._running[submit(_WORK[what], given)] = what, number, given

    def _may_plan(self) -> bool:
        """Whether one more film would find room: thousands that are planned at once are a long list of parts."""
        return bool(self._left) and self._planning * self._parts + len(self._running) < self._most

    def _take(self, task: object) -> int:
        """What a task has answered; returns how many frames it has made."""
        what, number, given = self._running.pop(task)
        self._planning -= what == "plan"
        try:
            answer = self.cluster.ray.get(task)
        except Exception as error:
            self._fail(number, nodes.said_of(error))
            return 0
        assert isinstance(answer, Answer)
        for text in answer.notes:
            note(text)
        if answer.failed is not None:
            self._fail(number, answer.failed)
            return 0
        if number not in self._going and what != "plan":
            return 0  # it has failed meanwhile
        return {"plan": self._planned, "part": self._part, "join": self._joined, "whole": self._whole}[what](
            number, given, answer.value
        )

    def _planned(self, number: int, _: object, planned: object) -> int:
        assert isinstance(planned, work.Planned)
        going = self._going[number] = Going(planned)
        self._parts += ((planned.parts or 1) - self._parts) / 8
        self.expected = None if planned.expected is None or self.expected is None else self.expected + planned.expected
        if planned.parts is None:
            self._todo.appendleft(("whole", number, planned.film))
            return 0
        known = dict(planned.done)
        going.waiting = set(range(planned.parts)) - known.keys()
        self._todo.extend(("part", number, work.Task(planned, part)) for part in sorted(going.waiting))
        self._join_if_whole(number)
        return sum(known.values())

    def _part(self, number: int, task: object, record: object) -> int:
        assert isinstance(task, work.Task) and isinstance(record, Record)
        self._going[number].waiting.discard(task.number)
        self._join_if_whole(number)
        return record.frames

    def _join_if_whole(self, number: int) -> None:
        """Before the parts of films that were begun later."""
        if not self._going[number].waiting:
            self._todo.appendleft(("join", number, self._going[number].planned))

    def _joined(self, number: int, _: object, result: object) -> int:
        going = self._going[number]
        if isinstance(result, joining.Torn):
            if going.again:
                self._fail(number, "its parts do not meet, though they were read from the beginning")
                return 0
            name = name_of(self.films[number].job.source)
            note(f"the clock of {name} goes on otherwise where it is searched: read from its beginning")
            going.again, going.waiting = True, {result.first}
            self.expected = None if self.expected is None else self.expected + result.frames
            self._todo.appendleft(("part", number, work.Task(going.planned, result.first, sought=False)))
            return 0
        self._done(number, *_pair(result))
        return 0

    def _whole(self, number: int, _: object, result: object) -> int:
        written, missing = _pair(result)
        self._done(number, written, missing)
        return sum(each.frames for each in _several(written))

    def _done(self, number: int, written: object, missing: object) -> None:
        source, output = self.films[number].job.source, self.films[number].job.output
        for each in _several(written):
            made = f"{each.interpolated} interpolated, {each.repeated} repeated; {counted(each.cuts, 'scene cut')}"
            if each.encoder:
                say(f"encoded by {each.encoder}")
            whence = f"{counted(each.source_frames, 'frame')} of {name_of(source)}"
            say(f"wrote {output}: {counted(each.frames, 'frame')} ({made}), from {whence}")
            has_written(replace(each, paths=(output,)))
        if missing:
            note(str(missing))
        self._tidy(number, Parts.end)
        self._end(number, "incomplete" if missing else "done")

    def _fail(self, number: int, sentence: str) -> None:
        if any(str(self.films[number].job.source) in names for names in self.ends.values()):
            return
        if self._is_kept(number):
            sentence += "; what is finished is kept: add --resume to go on"
        name = name_of(self.films[number].job.source)
        note(sentence if name in sentence else f"{name}: {sentence}")
        self._todo = deque(each for each in self._todo if each[1] != number)
        self._end(number, "failed")

    def _is_kept(self, number: int) -> bool:
        """Whether something is finished of a film; of one of which nothing is, nothing is left."""
        return self._tidy(number, Parts.tidy)

    def _tidy(self, number: int, how: Callable[[Parts], object]) -> bool:
        """Whether parts are left."""
        planned = self._going[number].planned if number in self._going else None
        if planned is None or planned.parts is None:
            return False
        parts = Parts(self.films[number].job.output, planned.film.work)
        try:
            how(parts)
            return bool(parts.records())
        except UserError as error:
            note(f"{parts.folder} is left: {error}")
            return True

    def _end(self, number: int, how: str) -> None:
        job = self.films[number].job
        self._going.pop(number, None)
        Made.forget(job.output)
        self.ends.setdefault(how, []).append(str(job.source))


_WORK = {"plan": work.plan, "part": work.render, "join": joining.join, "whole": work.at_once}


def _pair(value: object) -> tuple[object, object]:
    assert isinstance(value, tuple)
    return value[0], value[1]


def _several(written: object) -> list[Written]:
    return written if isinstance(written, list) else [written]  # type: ignore[list-item]


def run(films: Sequence[work.Film], options: argparse.Namespace, skipped: Sequence[str] = ()) -> None:
    """Makes all of them; then says how each has ended.

    Raises:
        UserError: as `vfi.commands.batch.run`.
    """
    with nodes.connected(options.ray, options.ray_resources) as cluster:
        sources = [path for film in films for path in film.job.images or (film.job.source,)]
        nodes.check(cluster, *_needed(films, options), sources)
        threads = max(1, round(cluster.resources.get("CPU", 1)))
        films = [replace(film, work=secrets.token_hex(4), threads=threads) for film in films]
        going = Films(cluster, films, {"skipped": list(skipped)} if skipped else {})
        shown = films[0].job.output.name if len(films) == 1 else counted(len(films), "video")
        for _ in progress.shown(going.frames(), lambda: going.expected, shown, films[0].job.progress):
            pass
    if len(films) == 1 and not skipped:
        _of_one(going.ends)
    else:
        tell({how: going.ends[how] for how in ("skipped", "done", "incomplete", "failed") if how in going.ends})


def _of_one(ends: dict[str, list[str]]) -> None:
    if "failed" in ends:
        raise SomeFailed("it could not be done, as said above")
    if "incomplete" in ends:
        raise Incomplete("it is not whole, as said above")


def _needed(films: Sequence[work.Film], options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Files and folders of this machine that all nodes must have; of many films those of one, which may be large."""
    given, job = nodes.files_of(options), films[0].job
    given += [] if is_remote(job.source) or job.images else [str(job.source)]
    return given, [] if is_remote(job.output) else [str(job.output.parent)]
