"""Which jumps of a function's code depend on what it is given, and where each leads: told from its bytecode."""

import dis
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

from vfi_kernels.compat._code import DOTS

DEVICE = ("is_cuda", "is_cpu", "device", "get_device")  # which is tried both ways, or does not run here
ENDS = ("POP_TOP", "RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE")
ALWAYS = ("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "JUMP_BACKWARD_NO_INTERRUPT")
MANY, UNKNOWN = 255, -1  # arguments of f(*...): as many as there may be, or those that are not at their defaults
COMPARES = ("COMPARE_OP", "IS_OP", "CONTAINS_OP", "UNARY_NOT")
PASSED = ("EXTENDED_ARG", "CACHE")
JUMPS = {*dis.hasjrel, *dis.hasjabs}
MOST_STEPS = 300  # to where an error is raised
Names = frozenset[str]  # variables; of attributes ".name"


@dataclass(frozen=True)
class Jump:
    """A jump that is taken or not, and the next instruction otherwise; `reads`: what its condition is made of;
    `plain`: whether that is one attribute, or two that are compared; `loops`: whether a loop ends with it."""

    offset: int
    line: int
    target: int
    following: int
    reads: Names
    plain: bool
    loops: bool

    @property
    def of_device(self) -> bool:
        return self.plain and any(f".{name}" in self.reads for name in DEVICE)


@dataclass(frozen=True)
class Statement:
    """What it reads, and the variables and attributes that it is assigned to."""

    reads: Names
    writes: Names


@dataclass(frozen=True)
class Flow:
    """Of one function. `offsets`: of each instruction, those before it included that only lengthen it, its own;
    `handlers`: where errors are caught, and on which lines."""

    jumps: dict[int, Jump]
    statements: tuple[Statement, ...]
    offsets: dict[int, int]
    handlers: dict[int, int]


@functools.lru_cache(maxsize=1024)
def steps_of(code: CodeType) -> tuple[dis.Instruction, ...]:
    return tuple(dis.get_instructions(code))


@functools.lru_cache(maxsize=1024)
def flow_of(code: CodeType) -> Flow:
    every = list(steps_of(code))
    offsets: dict[int, int] = {}
    pending: list[int] = []
    steps: list[dis.Instruction] = []
    lines: dict[int, int] = {}
    starts, line = dict(dis.findlinestarts(code)), code.co_firstlineno
    for step in every:
        line = starts.get(step.offset) or line
        pending.append(step.offset)
        if step.opname in PASSED:
            continue
        offsets.update(dict.fromkeys(pending, step.offset))
        lines[step.offset] = line
        pending = []
        steps.append(step)
    jumps = {step.offset: jump_of(steps, n, lines[step.offset]) for n, step in enumerate(steps)
             if is_jump(step) or step.opname == "FOR_ITER"}  # fmt: skip
    return Flow(jumps, tuple(statements_of(steps)), offsets, {at: lines[at] for at in handlers_of(steps)})


def jumps_on(code: CodeType, line: int) -> bool:
    """Whether a line of code has a jump."""
    return any(jump.line == line and not jump.loops for jump in flow_of(code).jumps.values())


def is_jump(step: dis.Instruction) -> bool:
    return "JUMP" in step.opname and "IF" in step.opname and "EXC" not in step.opname


def jump_of(steps: list[dis.Instruction], n: int, line: int) -> Jump:
    condition = list(made_before(steps, n))
    assigned = assigned_in(steps, n - len(condition))
    whole = assigned or sum(map(effect_of, condition)) >= 1
    reads = frozenset(name for step in (condition if whole else steps[:n]) for name in read_by(step)).union(assigned)
    plain = not any("CALL" in s.opname or (s.opname == "LOAD_CONST" and type(s.argval) in (int, float))
                    for s in condition)  # fmt: skip
    following = steps[n + 1].offset if n + 1 < len(steps) else -1
    return Jump(steps[n].offset, line, steps[n].argval, following, reads, plain, steps[n].opname == "FOR_ITER")


def made_before(steps: list[dis.Instruction], n: int) -> Iterator[dis.Instruction]:
    """The instructions before one that make the value that it takes, the last one first."""
    depth = 0
    for step in reversed(steps[:n]):
        if step.opname.startswith("STORE_FAST_LOAD_FAST"):
            yield step
            return
        if step.opname.startswith("STORE_") or step.opname in ENDS:
            return
        yield step
        depth += effect_of(step)
        if depth >= 1:
            return


def effect_of(step: dis.Instruction) -> int:
    """How many values more are on the stack; what is only copied there, for a jump, is made before that."""
    if step.opname == "DUP_TOP" or (step.opname == "COPY" and step.arg == 1):
        return 0
    return dis.stack_effect(step.opcode, step.arg if step.opcode >= dis.HAVE_ARGUMENT else None, jump=False)


def assigned_in(steps: list[dis.Instruction], start: int) -> tuple[str, ...]:
    """The variable that a condition assigns to, and goes on with: (n := ...) > 3."""
    copied = start > 1 and steps[start - 2].opname in ("COPY", "DUP_TOP")
    return written_by(steps, start - 1) if copied else ()


@functools.lru_cache(maxsize=4096)
def call_at(code: CodeType, offset: int) -> tuple[int, Names, tuple[object, ...], Names]:
    """Of a call: how many arguments it has by place and by name, the latter's names, the constants that are written
    out among them, and the variables."""
    steps = [step for step in steps_of(code) if step.opname not in PASSED]
    n = max(n for n, step in enumerate(steps) if step.offset <= offset)  # it may stand behind the call
    step = steps[n]
    made = list(made_before(steps, n + 1))
    constants = tuple(s.argval for s in made if s.opname in ("LOAD_CONST", "LOAD_SMALL_INT"))
    reads = frozenset(name for s in made for name in read_by(s))
    if not step.opname.startswith("CALL") or step.opname == "CALL_FUNCTION_EX" or not isinstance(step.arg, int):
        return MANY if any(s.opname in COMPARES for s in made) else UNKNOWN, frozenset(), constants, reads
    by_name = next((s.argval for s in steps[max(n - 2, 0) : n] if isinstance(s.argval, tuple)
                    and (s.opname == "KW_NAMES" or step.opname.endswith("KW"))), ())  # fmt: skip
    return step.arg, frozenset(by_name), constants, reads


def variables(step: dis.Instruction) -> tuple[str, ...]:
    """The names in an instruction, which may be of two variables; of LOAD_SUPER_ATTR and others the last."""
    found = step.argval if isinstance(step.argval, tuple) else (step.argval,)
    return tuple(name for name in found if isinstance(name, str))


def read_by(step: dis.Instruction) -> tuple[str, ...]:
    if step.opname in (*DOTS, "LOAD_SUPER_ATTR"):
        return tuple(f".{name}" for name in variables(step)[-1:])
    if step.opname.startswith("STORE_FAST_LOAD_FAST"):
        return variables(step)[1:]
    return variables(step) if step.opname.startswith("LOAD_") and step.opname != "LOAD_CONST" else ()


def written_by(steps: list[dis.Instruction], n: int) -> tuple[str, ...]:
    step = steps[n]
    if step.opname == "STORE_ATTR":
        return (f".{step.argval}",)
    if step.opname == "STORE_SUBSCR":  # of a container
        return read_by(steps[n - 1 - len(list(made_before(steps, n)))])
    if step.opname.startswith("STORE_FAST_LOAD_FAST"):
        return variables(step)[:1]
    return variables(step) if step.opname.startswith("STORE_") and step.opname != "STORE_SLICE" else ()


def statements_of(steps: list[dis.Instruction]) -> Iterator[Statement]:
    """Each with all that it reads: what is assigned may be made of any of it."""
    reads: set[str] = set()
    writes: set[str] = set()
    for n, step in enumerate(steps):
        if writes and not step.opname.startswith("STORE_"):
            yield Statement(frozenset(reads), frozenset(writes))
            reads, writes = set(), set()
        reads.update(read_by(step))
        writes.update(written_by(steps, n))
        if step.opname in ENDS:
            yield Statement(frozenset(reads), frozenset(writes))
            reads, writes = set(), set()
    yield Statement(frozenset(reads), frozenset(writes))


def handlers_of(steps: list[dis.Instruction]) -> Iterator[int]:
    """Where what is raised is caught, `with` and `finally` excepted, which raise it again."""
    for n, step in enumerate(steps):
        if step.opname == "PUSH_EXC_INFO":
            following = [s.opname for s in steps[n + 1 : n + 3]]
            if "WITH_EXCEPT_START" not in following and not raises(steps, step.offset):
                yield step.offset
        elif step.opname == "SETUP_FINALLY" and not raises(steps, step.argval):
            yield step.argval


def raises(steps: list[dis.Instruction], start: int) -> bool:
    """Whether all that follows is an error."""
    at = {step.offset: n for n, step in enumerate(steps)}
    left, seen = [at[start]] if start in at else [], set[int]()
    while left:
        n = left.pop()
        if n in seen or n >= len(steps):
            continue
        seen.add(n)
        step = steps[n]
        if step.opname in ("RAISE_VARARGS", "RERAISE"):
            continue
        if step.opname.startswith(("RETURN_", "YIELD_")) or len(seen) > MOST_STEPS:
            return False
        if step.opcode in JUMPS and step.argval in at:
            left.append(at[step.argval])
        left += [] if step.opname in ALWAYS else [n + 1]
    return bool(seen)


@functools.lru_cache(maxsize=4096)
def only_raises(code: CodeType, start: int) -> bool:
    """Whether a way from this instruction on ends in an error, whatever happens."""
    return raises([step for step in steps_of(code) if step.opname not in PASSED], start)


CHANGE = (
    "append", "add", "update", "extend", "insert", "appendleft", "extendleft", "write", "put", "clear", "remove",
    "discard", "fill_", "copy_", "zero_",
)  # fmt: skip


@functools.lru_cache(maxsize=4096)
def looked_at(code: CodeType) -> Names:
    """What a function reads, but for containers that it only puts something into."""
    steps = [step for step in steps_of(code) if step.opname not in PASSED]
    into = {n - 1 - len(list(made_before(steps, n))) for n, step in enumerate(steps) if step.opname == "STORE_SUBSCR"}
    into |= {n - 1 for n, step in enumerate(steps) if step.opname in DOTS and step.argval in CHANGE}
    found = {name for n, step in enumerate(steps) if n not in into for name in read_by(step)}
    return frozenset(found).union(*(looked_at(c) for c in code.co_consts if isinstance(c, CodeType)))


@functools.lru_cache(maxsize=4096)
def fills(code: CodeType) -> Names:
    """The variables and containers that a function looks into, and writes where something is missing."""
    steps = [step for step in steps_of(code) if step.opname not in PASSED]
    found = {name for n in range(len(steps)) for name in written_by(steps, n)}
    return frozenset(found & looked_at(code)) if any(map(is_jump, steps)) else frozenset()
