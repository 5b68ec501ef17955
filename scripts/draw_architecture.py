"""Draws docs/architecture_*.svg from the imports of the code: `python scripts/draw_architecture.py`.

A box is a module, a folder or a layer of csrc/; an arrow says that something in one imports something in the other.
Boxes that import each other are one. Arrows that follow from others are left out: where A uses B and B uses C, none
goes from A to C. tests/test_architecture.py compares the committed pictures with the code.
"""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEIGHT, GAP, LETTER, PADDING = 34, 46, 8.2, 14  # of a box, between rows; of a letter, beside a word
Graph = dict[str, set[str]]  # box -> the boxes that it uses
WAYPOINT = "|"  # how the name of a bend of a long arrow begins


def python_uses(package: Path) -> Graph:
    """Modules and folders at the top of a package; its __init__ is called by the package's name."""
    tops = {p.stem for p in package.iterdir() if p.suffix == ".py" or (p.is_dir() and list(p.glob("*.py")))}
    graph: Graph = {top: set() for top in tops}
    for path in package.rglob("*.py"):
        user = path.relative_to(package).parts[0].removesuffix(".py")
        for dotted in _imported(ast.parse(path.read_text())):
            first, *rest = dotted.split(".")
            if first == package.name:
                graph[user].add(rest[0] if rest and rest[0] in tops else "__init__")
    return {_named(box, package): {_named(b, package) for b in used} for box, used in graph.items()}


def _named(box: str, package: Path) -> str:
    return package.name if box == "__init__" else box


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def native_uses(csrc: Path) -> Graph:
    """The layers of csrc/ and its ops; what is built for tests alone is left out."""
    graph: Graph = {}
    for path in csrc.rglob("*"):
        box = path.relative_to(csrc).parts[0]
        if path.is_file() and box != "testing":
            used = {name.split("/")[0] for name in re.findall(r'^#include "([^"]+/[^"]+)"', path.read_text(), re.M)}
            graph.setdefault(box, set()).update(used)
    return graph


def reachable(graph: Graph, start: str) -> set[str]:
    reached: set[str] = set()
    new = set(graph[start])
    while new:
        reached |= new
        new = {b for box in new for b in graph[box]} - reached
    return reached


def simplified(graph: Graph) -> Graph:
    """Boxes that use each other made one; arrows that follow from others, and those to itself, left out."""
    far = {box: reachable(graph, box) for box in graph}
    group = {a: ", ".join(sorted({a, *(b for b in far[a] if a in far[b])})) for a in graph}
    merged: Graph = {name: set() for name in group.values()}
    for box, used in graph.items():
        merged[group[box]] |= {group[b] for b in used} - {group[box]}
    far = {box: reachable(merged, box) for box in merged}
    return {box: {b for b in used if not any(b in far[other] for other in used)} for box, used in merged.items()}


def rows_of(graph: Graph) -> tuple[list[list[str]], Graph]:
    """The boxes by row, each below all that use it, and the arrows in steps of one row, with bends."""
    depth: dict[str, int] = {}

    def deep(box: str) -> int:
        if box not in depth:
            depth[box] = 1 + max((deep(b) for b in graph[box]), default=-1)
        return depth[box]

    rows: list[list[str]] = [[] for _ in range(1 + max(map(deep, graph)))]
    steps: Graph = {box: set() for box in graph}
    for box in sorted(graph):
        rows[depth[box]].append(box)
        for used in sorted(graph[box]):
            bends = [f"{WAYPOINT}{box} {used} {row}" for row in range(depth[box] - 1, depth[used], -1)]
            for above, below in pairwise([box, *bends, used]):
                steps.setdefault(above, set()).add(below)
            for bend, row in zip(bends, range(depth[box] - 1, depth[used], -1)):
                rows[row].append(bend)
    return rows[::-1], steps


def ordered(rows: list[list[str]], steps: Graph) -> list[list[str]]:
    """Each row by the mean place of what its boxes are joined to, down and up again, so that few arrows cross."""
    joined: Graph = {box: set(used) for box, used in steps.items()}
    for box, used in steps.items():
        for b in used:
            joined.setdefault(b, set()).add(box)
    for sweep in range(12):
        sequence = range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, -1, -1)
        for n in sequence:
            beside = rows[n - 1] if sweep % 2 == 0 else rows[n + 1]
            place = {box: (i + 0.5) / len(beside) for i, box in enumerate(beside)}
            mean = {}
            for i, box in enumerate(rows[n]):
                places = [place[b] for b in joined.get(box, ()) if b in place]
                mean[box] = sum(places) / len(places) if places else (i + 0.5) / len(rows[n])
            rows[n] = sorted(rows[n], key=lambda box: (round(mean[box], 6), box))
    return rows


def width_of(box: str) -> float:
    return 12.0 if box.startswith(WAYPOINT) else 2 * PADDING + LETTER * len(box)


def drawn(graph: Graph, title: str) -> str:
    """An SVG with its own white ground, for pages of any colour."""
    rows, steps = rows_of(simplified(graph))
    rows = ordered(rows, steps)
    space = 26
    total = max(sum(map(width_of, row)) + space * (len(row) + 1) for row in rows)
    at: dict[str, tuple[float, float]] = {}  # the middle of the upper edge
    for n, row in enumerate(rows):
        free = (total - sum(map(width_of, row))) / (len(row) + 1)
        x = free
        for box in row:
            at[box] = (x + width_of(box) / 2, 20 + n * (HEIGHT + GAP))
            x += width_of(box) + free
    size = f'width="{total:.0f}" height="{40 + len(rows) * (HEIGHT + GAP) - GAP}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="14" text-anchor="middle">',
        f"<title>{title}</title>",
        '<defs><marker id="tip" markerWidth="9" markerHeight="7" refX="9" refY="3.5" orient="auto">'
        '<path d="M0 0L9 3.5L0 7z" fill="#556"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    lines += [_arrow(at, box, below) for box in sorted(steps) for below in sorted(steps[box])]
    for box in sorted(at):
        if not box.startswith(WAYPOINT):
            (x, y), width = at[box], width_of(box)
            shape = f'x="{x - width / 2:.0f}" y="{y}" width="{width:.0f}" height="{HEIGHT}" rx="5"'
            lines.append(f'<rect {shape} fill="#e8eef7" stroke="#446"/>')
            lines.append(f'<text x="{x:.0f}" y="{y + 22}" fill="black">{box}</text>')
    return "\n".join([*lines, "</svg>\n"])


def _arrow(at: dict[str, tuple[float, float]], box: str, below: str) -> str:
    (x0, y0), (x1, y1) = at[box], at[below]
    start = y0 + HEIGHT
    bend = f"{x0:.0f} {y0}L" if box.startswith(WAYPOINT) else ""  # goes straight down its row
    tip = "" if below.startswith(WAYPOINT) else ' marker-end="url(#tip)"'
    return f'<path d="M{bend}{x0:.0f} {start}L{x1:.0f} {y1}" fill="none" stroke="#556"{tip}/>'


def pictures() -> dict[Path, str]:
    """Every picture: file -> its text."""
    graphs = {
        "vfi_kernels": python_uses(ROOT / "vfi_kernels"),
        "vfi": python_uses(ROOT / "python/vfi"),
        "csrc": native_uses(ROOT / "csrc"),
    }
    return {
        ROOT / f"docs/architecture_{name}.svg": drawn(graph, f"What imports what in {name}")
        for name, graph in graphs.items()
    }


if __name__ == "__main__":
    for file, text in pictures().items():
        file.write_text(text)
        print(file.relative_to(ROOT))
