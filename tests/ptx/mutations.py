"""Faults planted in the PTX of a kernel, one at a time."""

import itertools
import re
from dataclasses import dataclass
from random import Random

ACCESS = re.compile(r"^\s*(?:@!?%p\d+ )?(?:ld|st)\.(?:global|shared)[\w.:]*?(?:\.v([24]))?\.[bfus](8|16|32|64)\s")
DISPLACED = re.compile(r"\[(%?\w+)(?:\+(-?\d+))?\]")


@dataclass(frozen=True)
class Entry:
    """A kernel alone: what its module says before any kernel, and its own lines."""

    name: str
    head: str
    begin: int  # the line of its module, counted from 1, that is its first
    lines: tuple[str, ...]

    def with_line(self, n: int, line: str) -> str:
        return "\n".join([self.head, *self.lines[:n], line, *self.lines[n + 1 :], ""])

    def text(self) -> str:
        return "\n".join([self.head, *self.lines, ""])


def entries(text: str) -> dict[str, Entry]:
    """The kernels of a module of nvcc's."""
    lines = text.splitlines()
    begins = [n for n, line in enumerate(lines) if ".entry " in line]
    found = {}
    for begin in begins:
        end = end_of(lines, begin)
        name = re.search(r"\.entry (\w+)", lines[begin])[1]
        found[name] = Entry(name, "\n".join(lines[: begins[0]]), begin + 1, tuple(lines[begin : end + 1]))
    return found


def end_of(lines: list[str], begin: int) -> int:
    """The line whose brace closes a kernel's first one: inline assembly has some of its own, also alone on a line."""
    open_braces = itertools.accumulate(line.count("{") - line.count("}") for line in lines[begin:])
    return begin + next(n for n, depth in enumerate(open_braces) if depth == 0 and lines[begin + n] == "}")


def without_barrier(line: str) -> str | None:
    return "" if re.match(r"\s*bar\.sync\s", line) else None


def _displaced(line: str, by: int) -> str:
    return DISPLACED.sub(lambda m: f"[{m[1]}+{int(m[2] or 0) + by}]", line, count=1)


def off_by_one(line: str) -> str | None:
    """The element, or vector, behind the right one."""
    access = ACCESS.match(line)
    return access and _displaced(line, int(access[1] or 1) * int(access[2]) // 8)


def misaligned(line: str) -> str | None:
    access = ACCESS.match(line)
    return _displaced(line, int(access[2]) // 8) if access and access[1] else None


def wrong_fragment(line: str) -> str | None:
    """Two registers of a factor, or of a loaded matrix, change places. Of wmma they are the first and the third: some
    neighbours hold the same element twice."""
    kind = re.match(r"\s*(mma\.|wmma\.mma|ldmatrix|wmma\.load)", line)
    lists = list(re.finditer(r"\{([^}]*)\}", line))
    if not kind or not lists:
        return None
    chosen = lists[1] if "mma.sync" in line or ".mma." in line else lists[0]
    names = [name.strip() for name in chosen[1].split(",")]
    other = 2 if kind[1].startswith("wmma") else 1
    if len(names) <= other or names[0] == names[other]:
        return None
    names[0], names[other] = names[other], names[0]
    return line[: chosen.start()] + "{" + ", ".join(names) + "}" + line[chosen.end() :]


def without_atomicity(line: str) -> str | None:
    """A sum becomes a plain store."""
    found = re.match(r"(\s*(?:@!?%p\d+ )?)(atom|red)\.global[\w.:]*\.add(\.v[24])?\.([fus]\d+)\s+(.*)", line)
    if found is None:
        return None
    head, kind, vector, element, operands = found.groups()
    if kind == "atom":  # gives the old value
        operands = re.sub(r"^(\{[^}]*\}|%\w+|_)\s*,\s*", "", operands)
    return f"{head}st.global{vector or ''}.{element} {operands}"


KINDS = {f.__name__: f for f in (without_barrier, off_by_one, misaligned, wrong_fragment, without_atomicity)}


def planted(entry: Entry, ran: set[int], each: int, rng: Random):
    """(kind, line number in the entry, text), `each` of a kind at most, in lines that `ran`."""
    for kind, change in KINDS.items():
        changes = ((n, change(entry.lines[n])) for n in sorted(ran))
        places = [(n, changed) for n, changed in changes if changed is not None]
        for n, changed in rng.sample(places, min(each, len(places))):
            yield kind, n, entry.with_line(n, changed)
