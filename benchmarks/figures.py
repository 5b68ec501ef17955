"""The figures of docs/benchmarks.md, drawn by benchmarks/report.py: the roofline, and time against resolution."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import groups

from vfi_kernels.bench.measure import COPY, OURS

LARGE_BYTES = 32e6  # a copy of more does not fit a cache: its bandwidth is the memory's
PIXELS = {"1080p": (1080, 1920), "4k": (2160, 3840)}
COLOURS = {OURS: "tab:orange", COPY: "gray"}
PEERS = ("tab:blue", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:cyan", "tab:olive")


def bandwidth(rows: list[dict[str, Any]]) -> float:
    """Bytes a second of the copies that do not fit a cache: their median."""
    rates = sorted(
        row["bytes"] / (row["timings"][COPY]["median_ms"] / 1000) for row in rows if row["bytes"] >= LARGE_BYTES
    )
    return rates[len(rates) // 2]


def usual(row: dict[str, Any]) -> bool:
    """float32, forward, all threads, nothing forced: what the roofline shows."""
    conditions = row["dtype"] == "float32" and row["mode"] == "forward" and row["recording"] == "inference_mode"
    return conditions and row["level_forced"] is None and row["threads"] != 1 and COPY in row["timings"]


def roofline(document: dict[str, Any], axes: Any) -> bool:
    """Operations a second against operations per byte, both by definition, under what memory and products allow."""
    rows = [row for row in document["rows"] if usual(row) and row.get("flops")]
    peak = document.get("flops_per_second")
    if not rows or not peak or not any(row["bytes"] >= LARGE_BYTES for row in rows):
        return False
    speed = bandwidth(rows)
    ends = [0.3, peak / speed, 600]
    axes.plot(ends, [min(speed * x, peak) / 1e9 for x in ends], color="black", linewidth=1)
    axes.annotate(f"copy: {speed / 1e9:.0f} GB/s", (0.33, 0.36 * speed / 1e9), rotation=33, fontsize=8)
    axes.annotate(f"torch.mm: {peak / 1e9:.0f} GFLOP/s", (ends[1] * 1.3, 1.08 * peak / 1e9), fontsize=8)
    ops = list(dict.fromkeys(row["op"] for row in rows))
    for n, op in enumerate(ops):
        points = [row for row in rows if row["op"] == op]
        intensity = [row["flops"] / row["bytes"] for row in points]
        rate = [row["flops"] / row["timings"][OURS]["median_ms"] / 1e6 for row in points]
        axes.plot(intensity, rate, "osD^vPX*hd"[n % 10], color=f"C{n}", label=op)
    axes.set(xscale="log", yscale="log", xlabel="operations per byte, at least", ylabel="GFLOP/s")
    axes.legend(fontsize=7, loc="lower right")
    return True


def resolution(document: dict[str, Any], axes: Any) -> bool:
    """Time per frame of three channels against its pixels: warping and softmax splatting, their peers and a copy."""
    drawn, named = False, set[str]()
    for case, style in ((groups.WARP, "-"), (groups.SOFTMAX, "--")):
        rows = [row for row in document["rows"] if usual(row) and row["case"] == case and row["flow"] == "smooth"]
        rows = [row for row in rows if row["layout"] == "nchw"]
        sizes = {row["shape"]: area(row["shape"]) for row in rows}
        series: dict[str, dict[int, float]] = {}
        for row in rows:
            if sizes[row["shape"]] is None:
                continue
            for name, timing in row["timings"].items():
                series.setdefault(name, {})[sizes[row["shape"]]] = timing["median_ms"]
        for name, points in series.items():
            if len(points) < 3 or (name == COPY and case != groups.WARP):
                continue
            drawn = True
            pixels = sorted(points)
            label = name if name == COPY else f"{case.partition('-')[0]}: {name}"
            times = [points[p] for p in pixels]
            colour = COLOURS.get(name) or PEERS[len(named) % len(PEERS)]
            named |= {name} - COLOURS.keys()
            axes.plot([p / 1e6 for p in pixels], times, style, marker=".", color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="megapixels (3 channels, float32)", ylabel="ms")
    if drawn:
        axes.legend(fontsize=7)
    return drawn


def area(shape: str) -> int | None:
    """Pixels of one frame of three channels; None for another shape."""
    if shape in PIXELS:
        return PIXELS[shape][0] * PIXELS[shape][1]
    sizes = [int(n) for n in shape.split("x")] if shape[0].isdigit() and "x" in shape else []
    return sizes[2] * sizes[3] if sizes[:2] == [1, 3] else None


FIGURES: dict[str, tuple[str, Callable[[dict[str, Any], Any], bool]]] = {
    "roofline": ("Roofline: what each op reaches of what memory and multiplications allow", roofline),
    "resolution": ("Time against resolution", resolution),
}


def draw(document: dict[str, Any], machine: str, folder: Path) -> None:
    """Writes the figures of one machine; one for which nothing was measured is not written."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    for name, (title, draw_one) in FIGURES.items():
        figure, axes = pyplot.subplots(figsize=(7, 4.2), dpi=110)
        axes.set_title(title, fontsize=10)
        if draw_one(document, axes):
            figure.tight_layout()
            figure.savefig(folder / f"{name}_{machine}.png")
        pyplot.close(figure)
