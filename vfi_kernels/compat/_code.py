"""What a function's code reads, and what it compares: told from its bytecode."""

import dis
import functools
from collections.abc import Iterator
from dataclasses import dataclass

from vfi_kernels._types import Foreign

# What reads by a name that is made while it runs.
UNTOLD = ("eval", "exec", "globals", "vars", "__dict__", "attrgetter")
BY_WORD = ("getattr", "hasattr")
IMPORTS = ("__import__", "import_module")
MOVES = ("EXTENDED_ARG", "CACHE", "NOP", "PRECALL", "PUSH_NULL")
DOTS = ("LOAD_ATTR", "LOAD_METHOD")


@dataclass(frozen=True)
class Reads:
    """The names that a function, and the functions inside it, read.

    Attributes:
        chains: of variables of its module, each with what follows it after dots: ("torch", "backends", "cudnn").
        attributes: every name after a dot, and every word that is given to getattr.
        of_first: of its first parameter, the names after a dot; None where that goes elsewhere.
        modules: what it imports while it runs.
        untold: how it reads what its code does not name; "" if it does not.
        compared: the numbers that it compares with, or that decide which way it goes.
        branches: whether it goes more than one way.
    """

    chains: frozenset[tuple[str, ...]]
    attributes: frozenset[str]
    of_first: frozenset[str] | None
    modules: frozenset[str]
    untold: str
    compared: frozenset[int]
    branches: bool


@functools.lru_cache(maxsize=4096)
def reads_of(code: Foreign, first: str | None = None) -> Reads:
    """Of a function's code; `first`: the name of its first parameter, if it is a function inside another."""
    first = first or (code.co_varnames[0] if code.co_argcount else "")
    steps = [step for step in dis.get_instructions(code) if step.opname not in MOVES]
    inside = [c for c in code.co_consts if hasattr(c, "co_names")]
    inner = [reads_of(c, first if first in c.co_freevars else None) for c in inside]
    chains = {chain(steps, n) for n, step in enumerate(steps) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    attributes = {s.argval for s in steps if s.opname in (*DOTS, "IMPORT_FROM", "LOAD_SUPER_ATTR")}
    named = {c[0] for c in chains} | attributes
    words = {c for c in code.co_consts if isinstance(c, str) and c.replace(".", "a").isidentifier()}
    by_word = not named.isdisjoint(BY_WORD)
    attributes |= words if by_word else set()
    modules = {s.argval for s in steps if s.opname == "IMPORT_NAME"} | (set() if named.isdisjoint(IMPORTS) else words)
    untold = next((word for word in UNTOLD if word in named), "")
    if by_word and any(s.opname in ("BUILD_STRING", "FORMAT_VALUE", "FORMAT_SIMPLE") for s in steps):
        untold = untold or "getattr"
    of_first = read_of_first(steps, first)
    for c, reads in zip(inside, inner):
        chains |= reads.chains
        attributes |= reads.attributes
        untold = untold or reads.untold
        if first in c.co_freevars:
            of_first = None if of_first is None or reads.of_first is None else of_first | reads.of_first
    compared, branches = decided_by(steps)
    return Reads(
        frozenset(chains),
        frozenset(attributes),
        of_first,
        frozenset(modules).union(*(r.modules for r in inner)),
        untold,
        compared.union(*(r.compared for r in inner)),
        branches or any(r.branches for r in inner),
    )


def chain(steps: list[dis.Instruction], at: int) -> tuple[str, ...]:
    """A variable, and the names after dots behind it."""
    found = [steps[at].argval]
    for step in steps[at + 1 :]:
        if step.opname not in DOTS:
            break
        found.append(step.argval)
    return tuple(found)


def read_of_first(steps: list[dis.Instruction], first: str) -> frozenset[str] | None:
    """The attributes that are read of a variable, and by super(); None if it is used in another way."""
    found: set[str] = set()
    for n, step in enumerate(steps):
        last = step.argval[-1] if isinstance(step.argval, tuple) and step.argval else step.argval
        following = steps[n + 1] if n + 1 < len(steps) else None
        if step.opname == "LOAD_GLOBAL" and last == "super":
            found |= {s.argval for s in steps[n : n + 8] if s.opname in (*DOTS, "LOAD_SUPER_ATTR")}
        if not first or not step.opname.startswith("LOAD_") or step.opname in ("LOAD_CONST", "LOAD_CLOSURE", *DOTS):
            continue
        if isinstance(step.argval, tuple) and step.opname.startswith("LOAD_FAST") and first in step.argval[:-1]:
            return None
        if last != first or "super" in [s.argval for s in steps[max(n - 2, 0) : n]]:
            continue
        if following is None or following.opname not in (*DOTS, "STORE_ATTR", "DELETE_ATTR"):
            return None
        found |= {following.argval} if following.opname in DOTS else set()
    return None if "__class__" in found else frozenset(found)


def decided_by(steps: list[dis.Instruction]) -> tuple[frozenset[int], bool]:
    """The numbers near comparisons and jumps, and those that have names; whether there is any comparison or jump."""
    found: set[int] = set()
    window: set[int] = set()
    branches = bounded = False
    for step, following in zip(steps, [*steps[1:], None]):
        if step.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            numbers = set(integers(step.argval))
            window |= numbers
            if following is not None and following.opname.startswith(("STORE_FAST", "STORE_DEREF")):
                found |= numbers
        bounded = bounded or (step.opname == "LOAD_GLOBAL" and step.argval in ("min", "max"))
        jumps = "JUMP" in step.opname and "IF" in step.opname
        if jumps or step.opname in ("COMPARE_OP", "CONTAINS_OP") or bounded:
            found |= window
            branches = True
        if step.opname.startswith(("STORE_", "POP_TOP", "RETURN_")) or jumps:
            window, bounded = set(), False
    return frozenset(found), branches


def integers(value: Foreign) -> Iterator[int]:
    """Whole numbers in a constant; of a float the whole number below it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**40:
        yield int(value)
    elif isinstance(value, (tuple, frozenset)):
        for part in value:
            yield from integers(part)
