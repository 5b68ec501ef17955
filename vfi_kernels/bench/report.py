"""Results: the table on the terminal, the JSON file, the comparison of two files, the plot."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from vfi_kernels._types import Facts
from vfi_kernels.bench.jobs import UsageError, key
from vfi_kernels.bench.measure import COPY, OURS, OURS_DETERMINISTIC, OURS_FLOAT32, WRONG

SCHEMA = 1
SLOWER, FASTER, WITHIN = "slower", "faster", "within noise"
NOISE = "noise: half the distance of the quartiles, of both files together; slower and faster: the quartiles are apart."


def duration(ms: float) -> str:
    """Three digits, in us, ms or s."""
    for unit, size in (("us", 1e-3), ("ms", 1.0), ("s", 1e3)):
        if ms < 1000 * size or unit == "s":
            value = ms / size
            digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 2
            return f"{value:.{digits}f} {unit}"
    raise AssertionError


def peer_cell(row: Facts, peer: str) -> str:
    """How many times faster than the peer; "!" marks one whose result differs."""
    if peer not in row["times_faster"]:
        return "-"
    return f"{row['times_faster'][peer]:.2f}x{'!' if row['differs'].get(peer, 0) > WRONG else ''}"


def conditions(row: Facts) -> dict[str, str]:
    """What a row was measured under, in words."""
    return {
        "case": row["case"],
        "shape": row["shape"],
        "dtype": row["dtype"],
        "layout": row["layout"],
        "mode": row["mode"] if row["mode"] != "forward" else f"forward, {row['recording']}",
        "flow": f"{row['flow']} flow",
        "on": row["device"]
        if row["device"] != "cpu"
        else f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}",
        "level": row["cpu_level"] if row["device"] == "cpu" else "",
        "backend": row["backend"],
    }


def columns(rows: Sequence[Facts]) -> tuple[str, list[str], list[list[str]]]:
    """What all rows have in common, the header of a table of the rest, and its cells."""
    conditions_of_rows = [conditions(row) for row in rows]
    varies = [
        name for name in conditions_of_rows[0] if name == "shape" or len({c[name] for c in conditions_of_rows}) > 1
    ]
    common = ", ".join(value for name, value in conditions_of_rows[0].items() if name not in varies and value)
    peers = list(dict.fromkeys(name for row in rows for name in row["times_faster"]))
    cells = []
    for row, condition in zip(rows, conditions_of_rows, strict=True):
        timing = row["timings"][OURS]
        spread = [100 * (timing[end] / timing["median_ms"] - 1) for end in ("low_ms", "high_ms")]
        floor = "-" if row["times_floor"] is None else f"{row['times_floor']:.2f}x"
        figures = [duration(timing["median_ms"]), f"{spread[0]:+.0f} {spread[1]:+.0f} %", floor]
        cells.append([*(condition[name] for name in varies), *figures, *(peer_cell(row, p) for p in peers)])
    return common, [*varies, OURS, "spread", "floor", *peers], cells


def text_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[n]) for row in [header, *cells]) for n in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *cells]
    )


def markdown_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *cells])


def between_marks(page: str, marks: tuple[str, str], text: str) -> str:
    """`page` with `text` in place of what stands between two lines of it."""
    begin, end = marks
    before, rest = page.split(begin)
    return f"{before}{begin}{text}{end}{rest.split(end)[1]}"


def by_op(rows: Sequence[Facts]) -> dict[str, list[Facts]]:
    rows_by_op: dict[str, list[Facts]] = {}
    for row in rows:
        rows_by_op.setdefault(row["op"], []).append(row)
    return rows_by_op


def notes(rows: Sequence[Facts]) -> str:
    """What the columns mean."""
    lines = [
        "ours: median; spread: quartiles; floor: our time over that of a copy of as many bytes; "
        "peers: how many times faster ours is."
    ]
    if any(distance > WRONG for row in rows for distance in row["differs"].values()):
        lines.append(f"! the peer's result differs from ours by more than {100 * WRONG:.0f} % on average.")
    return "\n".join(lines)


def table(rows: Sequence[Facts]) -> str:
    """One table per op, then what the columns mean, and who could not take part."""
    parts = []
    for group in by_op(rows).values():
        common, header, cells = columns(group)
        parts.append(f"{common}\n{text_table(header, cells)}")
    absent = {f"not in the race: {name} ({reason})" for row in rows for name, reason in row["absent"].items()}
    return "\n\n".join([*parts, "\n".join([notes(rows), *sorted(absent)])])


def write_json(path: Path, document: Facts) -> None:
    """Written under another name and renamed: the file is never half there."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(document, indent=1) + "\n")
    os.replace(part, path)


def read_json(path: Path) -> Facts:
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"expected {path} to be a readable file, got {error.strerror}") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or "rows" not in document:
        raise UsageError(f"expected {path} to be a benchmark file of schema {SCHEMA}, got something else")
    return document


def compare(first: Path, second: Path) -> str:
    """What changed from one file to the other, in rows that both have."""
    a, b = read_json(first), read_json(second)
    machines = [doc["machine"]["cpu"]["model"] for doc in (a, b)]
    before = {key(row): row for row in a["rows"]}
    header = ["case", "shape", "dtype", "layout", "mode", "flow", "threads", str(first), str(second), "change"]
    header += ["noise", "verdict", "peers"]
    cells = []
    for row in b["rows"]:
        old = before.get(key(row))
        if old is None:
            continue
        was, now = old["timings"][OURS]["median_ms"], row["timings"][OURS]["median_ms"]
        own = (OURS_FLOAT32, OURS_DETERMINISTIC)
        shared = [p for p in row["times_faster"] if p in old["times_faster"] and p not in own]
        faster = ", ".join(f"{p} {old['times_faster'][p]:.2f}x -> {row['times_faster'][p]:.2f}x" for p in shared)
        conditions = [str(row[name]) for name in header[:7]]
        change, noise = f"{100 * (now / was - 1):+.0f} %", f"{100 * (spread(old) + spread(row)):.0f} %"
        cells.append([*conditions, duration(was), duration(now), change, noise, verdict(old, row, machines), faster])
    if not cells:
        raise UsageError(f"expected {first} and {second} to share a measurement, got none")
    cells.sort(key=lambda cell: (SLOWER, WITHIN, FASTER).index(cell[-2]))
    missing = f"{len(a['rows']) + len(b['rows']) - 2 * len(cells)} rows are in one file only"
    counts = ", ".join(f"{sum(cell[-2] == word for cell in cells)} {word}" for word in (SLOWER, FASTER, WITHIN))
    lines = [text_table(header, cells), f"{counts}; {missing}.", NOISE]
    if machines[0] != machines[1]:
        lines.append(f"Different machines ({machines[0]}; {machines[1]}): verdicts are those of the times over a copy.")
    return "\n".join(lines)


def spread(row: Facts) -> float:
    """Half the distance of the quartiles over the median."""
    timing = row["timings"][OURS]
    half: float = (timing["high_ms"] - timing["low_ms"]) / (2 * timing["median_ms"])
    return half


def verdict(old: Facts, new: Facts, machines: Sequence[str]) -> str:
    """Whether the quartiles of ours are apart: in ms if the machine is the same, and over those of the copy in the same
    run if there is one, so that a machine that was busy as a whole is no regression."""
    units = [(1.0, 1.0)] if machines[0] == machines[1] else []
    if COPY in old["timings"] and COPY in new["timings"]:
        units.append((old["timings"][COPY]["median_ms"], new["timings"][COPY]["median_ms"]))
    was, now = old["timings"][OURS], new["timings"][OURS]
    if units and all(now["low_ms"] / after > was["high_ms"] / before for before, after in units):
        return SLOWER
    if units and all(now["high_ms"] / after < was["low_ms"] / before for before, after in units):
        return FASTER
    return WITHIN


def plot(path: Path, rows: Sequence[Facts]) -> None:
    """Bars of how many times faster than each peer, a group of bars per row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in rows if row["times_faster"]]
    peers = list(dict.fromkeys(name for row in rows for name in row["times_faster"]))
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.25 * sum(1 + len(r["times_faster"]) for r in rows)))
    position, ticks = 0.0, []
    for row in rows:
        bars = [(peers.index(name), value) for name, value in row["times_faster"].items()]
        for n, (peer, value) in enumerate(bars):
            axes.barh(position + n, value, color=f"C{peer}")
            axes.text(value, position + n, f" {value:.3g}x", va="center", fontsize=7)
        label = f"{row['case']} {row['shape']}\n{row['dtype']} {row['mode']} {row['threads']} thr {row['cpu_level']}"
        ticks.append((position + (len(bars) - 1) / 2, label))
        position += len(bars) + 1
    axes.set_yticks([t for t, _ in ticks], [label for _, label in ticks], fontsize=7)
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("times faster than")
    patches = [pyplot.Rectangle((0, 0), 1, 1, color=f"C{n}") for n in range(len(peers))]
    axes.legend(patches, peers, fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.savefig(path, dpi=120, bbox_inches="tight", format="png")
    pyplot.close(figure)


def everything(document: Facts) -> str:
    """What a run found, for the terminal."""
    facts = document["machine"]
    head = f"{facts['cpu']['model']}, {facts['cpu']['cores']} cores, torch {facts['versions']['torch']}"
    parts = [", ".join([head, *(gpu["name"] for gpu in facts["gpus"])])]
    if document["rows"]:
        parts.append(table(document["rows"]))
    if document["imports"]:
        times = document["imports"]
        parts.append(f"import: vfi_kernels {times['vfi_kernels_s']:.3f} s beyond torch's own {times['torch_s']:.2f} s")
    parts += [f"{op}: refused, because {reason}" for op, reason in document["refused"].items()]
    if document["gate"] == "off":
        parts.append("The gate was off: nothing says that these ops are right.")
    return "\n\n".join(parts)
