"""The part of docs/benchmarks.md that says what the simulator counts (docs/gpu.md), written anew by this alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vfi_kernels.bench.gpus import GPUS
from vfi_kernels.bench.report import between_marks, duration, markdown_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
FILE = ROOT / "benchmarks" / "results" / "simulated.json"
BEGIN, END = "<!-- model: written by benchmarks/kernel_counts.py -->\n", "<!-- end of the model -->\n"
INTRODUCTION = """
Nothing here was measured: no GPU took part. nvcc's code is executed by a simulator, an instruction of a warp at a time,
and counted. What a bound is made of, and what it leaves out, is in [gpu.md](gpu.md). Counts are of code for sm_90.
""".strip()
NOTHING = "\nNo kernel has been counted for the record yet.\n\n"
Row = dict[str, Any]


def groups(made: Row) -> list[list[Row]]:
    """The rows of each call, the one of all its kernels last."""
    rows = iter(made["rows"])
    return [[next(rows) for _ in range(count)] for count in made["calls"]]


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def conditions(total: Row) -> str:
    words = [total["shape"], total["dtype"], total["layout"], total["mode"]]
    words += ["deterministic"] if total["deterministic"] else []
    return ", ".join([*words, *(["tf32"] if total["tf32"] else [])])


def short(name: str) -> str:
    """A kernel's name without its template's arguments."""
    return name.split("<")[0]


def goal_table(made: Row) -> str:
    header = ["kernel", "reach", "counted", "before", "reached", "bytes over the least", "torch's own", "kernels", "of",
              "instructions/px of the whole call, Triton's"]  # fmt: skip
    cells, calls = [], groups(made)
    for goal in made["goals"]:
        total = calls[goal["call"]][-1]
        names = sorted({short(made["names"][kernel]) for kernel in goal["kernels"]})
        reach = f"{number(goal['most'])} {goal['unit']}"
        figures = [reach, number(goal["counted"]), goal["before"], reached(goal)]
        where = f"{total['case']}, {conditions(total)}"
        cells.append([goal["text"], *figures, ratio(total["bytes_ratio"]), ", ".join(total["torch"]) or "-",
                      ", ".join(names) or "none", where, both(made, goal["call"], total)])  # fmt: skip
    met = sum(goal["met"] for goal in made["goals"])
    derived = sum(goal["as_derived"] and not goal["met"] for goal in made["goals"])
    return (
        f"{markdown_table(header, cells)}\n\n{met} of {len(made['goals'])} are reached; of {derived} others "
        "[gpu.md](gpu.md#what-the-figures-asked-would-need) derives what they need, which is met."
    )


def reached(goal: Row) -> str:
    return "yes" if goal["met"] else "as derived" if goal["as_derived"] else "no"


def both(made: Row, call: int, total: Row) -> str:
    """Instructions of ours and of the Triton kernels."""
    return f"{number(total['instructions_per_pixel'])}, {triton(made, call)}"


def triton(made: Row, call: int) -> str:
    found = made["triton"][call]
    return number(found) if isinstance(found, float) else "-"


def bound(row: Row, gpu: str) -> str:
    over = row["over_roof"][gpu]
    roof = "" if over is None else f", {over:.1f}x"
    return f"{duration(row['bound_us'][gpu] / 1e3)}, {row['bound_by'][gpu]}{roof}"


def every_table(made: Row) -> str:
    """A line for each call: its sums, and registers and occupancy of the kernel that takes longest."""
    header = ["case", "of", "instructions/px", "Triton's", "bytes", "sectors/request", "conflicts", "registers",
              "occupancy", *GPUS, "torch's own"]  # fmt: skip
    calls = groups(made)
    cells = []
    for n in made["first"]:
        kernels, total, gpu = calls[n], calls[n][-1], "H100"
        longest = max((k for k in kernels[:-1] if k["registers"]), key=lambda k: k["bound_us"][gpu], default=total)
        share = longest["occupancy"].get(gpu)
        figures = [number(total["instructions_per_pixel"]), triton(made, n), ratio(total["bytes_ratio"])]
        figures += [ratio(total[name]) for name in ("sectors_per_request", "conflicts")]
        figures += [str(longest["registers"] or "-"), "-" if share is None else f"{share:.0%}"]
        bounds = [bound(total, name) for name in GPUS]
        cells.append([total["case"], conditions(total), *figures, *bounds, ", ".join(total["torch"]) or "-"])
    return markdown_table(header, cells)


def untold(made: Row) -> list[tuple[int, str]]:
    """Calls of which Triton's kernels have no count, and why."""
    return [(n, reason) for n, reason in enumerate(made["triton"]) if isinstance(reason, str)]


def kernel_faults(made: Row) -> Iterator[str]:
    """Kernels that keep registers in local memory, or whose accesses to shared memory wait for one another."""
    rows = [row for row in made["rows"] if row["kernel"] != "all"]
    for text, chosen in (
        ("keep registers in local memory", lambda row: row["spilled_bytes"]),
        ("have conflicts in shared memory, more than 2-way on average", lambda row: (row["conflicts"] or 0) > 2),
    ):
        names = sorted({short(made["names"][row["kernel"]]) for row in rows if chosen(row)})
        yield f"{', '.join(names) or 'No kernels'} {text}."


def section(made: Row) -> str:
    parts = [
        "# A model: kernels on a simulator",
        INTRODUCTION,
        f"Counted on {made['date']}; torch {made['torch']}.",
        "## What was asked, and what is counted",
        goal_table(made),
        "## Every op, both ways",
        "Instructions of threads; bytes over the least; registers and occupancy of the kernel that takes longest, on "
        "an H100; the lower bound of the time on each GPU, what bounds it, and how many times the roof that is.",
        every_table(made),
        "\n".join(f"No count of Triton's {groups(made)[n][-1]['case']}: {reason}." for n, reason in untold(made)),
        "\n".join(kernel_faults(made)),
    ]
    return "\n\n".join(["", *filter(None, parts), ""])


def updated(page: str, text: str) -> str:
    """`page` with `text` between the markers of the model."""
    return between_marks(page, (BEGIN, END), text)


def text() -> str:
    """By the committed file."""
    return section(json.loads(FILE.read_text())) if FILE.exists() else NOTHING


def renew() -> None:
    PAGE.write_text(updated(PAGE.read_text(), text()))


if __name__ == "__main__":
    renew()
