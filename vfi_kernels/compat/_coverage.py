"""Which ways a function of someone else's went while it was tried: a jump that depends on what it is given, and went
one way only, hides what it computes the other way."""

import contextlib
import gc
import inspect
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType

import torch
from torch import nn

from vfi_kernels._types import Function
from vfi_kernels.compat import _flow
from vfi_kernels.compat._folders import library_folders
from vfi_kernels.compat._spaces import OURS
from vfi_kernels.compat._warp_results import Differs

# Of arguments: what no tensor or size turns into.
FIXED = (
    type(None), str, ModuleType, nn.Module, FunctionType, BuiltinFunctionType, type, torch.dtype, torch.device,
)  # fmt: skip


NUMBERS = (bool, int, float)
NOT_KNOWN: tuple[int, frozenset[str], tuple[object, ...], frozenset[str]] = (
    _flow.UNKNOWN,
    frozenset(),
    (),
    frozenset(),
)


@dataclass
class Seen:
    """Of one function: its handlers of errors that ran, where each jump led, its parameters that depend on what is
    given, and those that were the same number in each call."""

    ran: set[int] = field(default_factory=set)
    went: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    given: set[str] = field(default_factory=set)
    same: dict[str, object] = field(default_factory=dict)
    passed: set[tuple[CodeType, frozenset[str], str]] = field(default_factory=set)  # a caller's variables, as which

    def note(self, name: str, value: object) -> None:
        if name in self.given or (isinstance(value, FIXED) and name not in self.same):
            return
        if not isinstance(value, NUMBERS) or self.same.setdefault(name, value) != value:
            self.given.add(name)

    def add(self, other: "Seen") -> None:
        self.ran |= other.ran
        self.given |= other.given
        self.passed |= other.passed
        for name, value in other.same.items():
            self.note(name, value)
        for at, went in other.went.items():
            self.went[at] |= went


@dataclass
class Steps:
    """The instructions of one call, one after the other."""

    seen: Seen
    flow: _flow.Flow
    last: int = -1

    def add(self, offset: int) -> None:
        at = self.flow.offsets.get(offset, -1)
        if self.last >= 0 and at != self.last:
            self.seen.went[self.last].add(at)
        self.last = at if at in self.flow.jumps else -1
        if at in self.flow.handlers:
            self.seen.ran.add(at)


class Recorder:
    """All functions that ran in the trials of one candidate."""

    def __init__(self) -> None:
        self.seen: dict[CodeType, Seen] = defaultdict(Seen)

    def begin(self, frame: FrameType) -> Steps | None:
        """A call whose steps are to be seen; None for those of libraries, and where all ways are known."""
        code = frame.f_code
        if id(code) in of_libraries:  # nearly all calls
            return None
        if not is_foreign(code) or frame.f_globals.get("__name__", "").startswith("vfi_kernels."):
            of_libraries[id(code)] = code
            return None
        seen, flow = self.seen[code], _flow.flow_of(code)
        given_to(frame, seen)
        known = recorder.seen.get(code, seen)
        if known.ran >= flow.handlers.keys() and all(len(known.went.get(at, ())) > 1 for at in flow.jumps):
            return None
        return Steps(seen, flow)

    def trace(self, frame: FrameType, event: str, argument: object) -> "Function | None":
        steps = self.begin(frame)
        if steps is None:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        add = steps.add

        def step(frame: FrameType, event: str, argument: object) -> "Function":
            if event == "opcode":
                add(frame.f_lasti)
            return step

        return step

    @contextlib.contextmanager
    def traced(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            yield
        finally:
            sys.settrace(before)

    @contextlib.contextmanager
    def monitored(self, tool: int) -> Iterator[None]:
        """As `traced`, which from Python 3.12 on misses the first call of each function."""
        monitoring, thread = vars(sys)["monitoring"], threading.get_ident()
        running: dict[int, Steps] = {}  # by the numbers of their frames
        watched: set[CodeType] = set()

        def start(code: CodeType, offset: int) -> None:
            frame = sys._getframe(1)
            steps = self.begin(frame) if threading.get_ident() == thread else None
            running.pop(id(frame), None)
            if steps is not None:
                running[id(frame)] = steps
                watched.add(code)
                monitoring.set_local_events(tool, code, monitoring.events.INSTRUCTION)

        def step(code: CodeType, offset: int) -> None:
            steps = running.get(id(sys._getframe(1)))
            if steps is not None:
                steps.add(offset)

        monitoring.use_tool_id(tool, "vfi_kernels.compat")
        monitoring.register_callback(tool, monitoring.events.PY_START, start)
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, step)
        monitoring.set_events(tool, monitoring.events.PY_START)
        try:
            yield
        finally:
            monitoring.set_events(tool, 0)
            for code in watched:
                monitoring.set_local_events(tool, code, 0)
            monitoring.free_tool_id(tool)

    def add(self, other: "Recorder") -> None:
        for code, seen in other.seen.items():
            self.seen[code].add(seen)


recorder = Recorder()


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Inside, the ways of all functions are noted, unless an error ends it."""
    new = Recorder()
    monitoring = vars(sys).get("monitoring")  # from Python 3.12 on
    free = [n for n in (4, 3) if monitoring.get_tool(n) is None] if monitoring else []
    with new.monitored(free[0]) if free else new.traced():
        yield
    recorder.add(new)


@contextlib.contextmanager
def anew() -> Iterator[None]:
    """Inside, the trials are another candidate's."""
    global recorder
    before, recorder = recorder, Recorder()
    try:
        yield
    finally:
        before.add(recorder)
        recorder = before


of_libraries: dict[int, CodeType] = {}  # by their numbers, which nothing else has while they are kept here
foreign: dict[str, bool] = {}  # files, by their names: code takes long to hash


def is_foreign(code: CodeType) -> bool:
    """Of a repository: neither Python's, nor a library's, nor ours."""
    file = code.co_filename
    found = foreign.get(file)
    if found is None:
        found = foreign[file] = not file.startswith((*library_folders(), OURS, "<frozen", "<__array_function__"))
    return found


def given_to(frame: FrameType, seen: Seen) -> None:
    """Notes the parameters of a call, but for an object's own, constants that stand in the call, and defaults."""
    code, values, caller = frame.f_code, frame.f_locals, frame.f_back
    count = code.co_argcount + code.co_kwonlyargcount
    names = code.co_varnames[: count + bool(code.co_flags & 4) + bool(code.co_flags & 8)]
    names = names[int(names[:1] == ("self",)) :]
    of_trial = caller is None or not is_foreign(caller.f_code)
    given, by_name, constants, reads = (
        _flow.call_at(caller.f_code, caller.f_lasti) if caller and not of_trial else NOT_KNOWN
    )
    for n, name in enumerate(names):
        value = values.get(name)
        if any(equal(c, value) for c in constants):
            continue
        if name.startswith(".") and caller and not of_trial:  # what a comprehension goes through
            seen.passed.add((caller.f_code, reads, name))
            continue
        passed_on = {r for r in reads if caller and equal(caller.f_locals.get(r), value)}
        if passed_on and not of_trial and caller:
            seen.passed.add((caller.f_code, frozenset(passed_on), name))
        elif given == _flow.UNKNOWN:
            seen.note(name, value)
        elif n < given - len(by_name) or name in by_name or name in code.co_varnames[count:]:
            seen.given |= set() if isinstance(value, FIXED) else {name}


def equal(a: object, b: object) -> bool:
    """One number."""
    return isinstance(b, NUMBERS) and type(a) is type(b) and bool(a == b)


def expect_every_way() -> None:
    """Differs if a jump that depends on what is given went one way only, and the other is more than an error."""
    depends = variables_that_depend()
    for code, seen in list(recorder.seen.items()):
        flow = _flow.flow_of(code)
        for at, went in seen.went.items():
            jump = flow.jumps[at]
            endless = jump.loops and went == {jump.following}
            if len(went) > 1 or jump.of_device or (jump.reads.isdisjoint(depends[code]) and not endless):
                continue
            other = jump.following if jump.target in went else jump.target
            if not _flow.only_raises(code, other):
                raise Differs(f"a way that no trial takes begins at {place(code, jump.line)}")
        for handler, line in flow.handlers.items():
            if handler not in seen.ran:
                raise Differs(f"a line that no trial reaches: {place(code, line)}")


def place(code: CodeType, line: int) -> str:
    return f"{os.path.basename(code.co_filename)}:{line}"


def variables_that_depend() -> dict[CodeType, set[str]]:
    """Of each function, its variables and the attributes that depend on what was given."""
    found: dict[CodeType, set[str]] = {}
    defaults = defaults_of([code for code, seen in recorder.seen.items() if seen.same])
    for code, seen in recorder.seen.items():
        known = defaults.get(id(code), {})
        same = {name for name, value in seen.same.items() if not equal(known.get(name), value)}
        found[code] = seen.given | same
    shared: set[str] = set()  # attributes, and variables of closures and modules
    grows = True
    while grows:
        grows = False
        for code, names in found.items():
            passed = {to for caller, of, to in recorder.seen[code].passed if not of.isdisjoint(found.get(caller, of))}
            grows = grows or not passed <= names
            names |= passed
            for statement in _flow.flow_of(code).statements:
                if not statement.reads.isdisjoint(names | shared) and not statement.writes <= names:
                    names |= statement.writes
                    grows = True
            free = {n for n in names if n.startswith(".") or n not in code.co_varnames or n in code.co_cellvars}
            grows = grows or not free <= shared
            shared |= free
    return {code: names | shared for code, names in found.items()}


def defaults_of(codes: Sequence[CodeType]) -> dict[int, dict[str, object]]:
    """Of the functions that have these codes, by id(code); none if there are several. One look at every object that
    there is finds all."""
    holders: dict[int, list[FunctionType]] = defaultdict(list)
    for f in gc.get_referrers(*codes):
        if inspect.isfunction(f):
            holders[id(f.__code__)].append(f)
    found: dict[int, dict[str, object]] = {}
    for code in codes:
        same = holders[id(code)]
        if not same or any(f.__defaults__ is not same[0].__defaults__ for f in same):
            continue
        given = same[0].__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
        found[id(code)] = {**dict(zip(names, given)), **(same[0].__kwdefaults__ or {})}
    return found
