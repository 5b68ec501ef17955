"""The figure and the table of docs/deformable_convolution.md.

    python benchmarks/deform_figure.py [benchmarks/results/<cpu>/<date>.json]

Draws docs/deformable_convolution.png out of the last results, and prints bytes and operations of the shapes in use.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from report import newest

ROOT = Path(__file__).resolve().parents[1]
TILE = 112  # output pixels, csrc/ops/modulated_deform_conv2d/modulated_deform_conv2d_cpu.h
SHAPES = {  # channels, height, width, offset groups
    "SG-RIFE at 1/8": (128, 64, 112, 4),
    "SG-RIFE at 1/16": (256, 32, 56, 8),
    "SG-RIFE at 1/8, twice the size": (128, 144, 256, 4),
    "EDVR": (64, 256, 448, 8),
}
CASES = (
    ("modulated_deform_conv2d-4", "features-112"),
    ("modulated_deform_conv2d-8", "features-56"),
    ("modulated_deform_conv2d-4", "features-256"),
    ("modulated_deform_conv2d-8", "features-448"),
)


def table() -> str:
    lines = [
        "| float32, 3x3, groups 1 | moved once, MB | column buffer, MB | GFLOP of the product | of sampling |",
        "|---|---|---|---|---|",
    ]
    for name, (c, h, w, parts) in SHAPES.items():
        pixels = h * w
        once = 4 * pixels * (2 * c + 27 * parts) + 4 * 9 * c * c
        product, sampling = 2 * 9 * c * c * pixels, 8 * 9 * c * pixels
        cells = (once / 1e6, 4 * 9 * c * pixels / 1e6, product / 1e9, sampling / 1e9)
        figures = " | ".join(f"{x:.2f}" for x in cells)
        lines.append(f"| {name}: {c} ch {h}x{w}, {parts} offset groups | {figures} |")
    return "\n".join(lines)


def times(document: dict[str, Any]) -> list[tuple[str, float, float, float]]:
    """(shape, ours, dense convolution, torch ops) in ms."""
    seconds = []
    for case, shape in CASES:
        for row in document["rows"]:
            key = (row["case"], row["shape"], row["dtype"], row["mode"], row["threads"])
            if key != (case, shape, "float32", "forward", 2) or row["level_forced"]:
                continue
            t = {name: timing["median_ms"] for name, timing in row["timings"].items()}
            dense = min(t[name] for name in t if name.startswith("dense"))
            seconds.append((shape, t["ours"], dense, t["grid_sample and product"]))
    return seconds


def box(axes: Any, x: float, y: float, width: float, height: float, colour: str, text: str) -> None:
    style = {"boxstyle": "round,pad=0.02", "facecolor": colour, "edgecolor": "#333333"}
    axes.add_patch(FancyBboxPatch((x, y), width, height, **style))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=8)


def arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color="#333333"))
    axes.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.12, text, ha="center", fontsize=7)


def draw_scheme(axes: Any) -> None:
    memory, cache = "#dbe9f6", "#fde3c8"
    box(axes, 0.0, 1.95, 1.25, 0.75, memory, "input\nas [H, W, C]")
    box(axes, 0.0, 0.95, 1.25, 0.75, memory, "offset, mask\n3 G planes a tap")
    box(axes, 1.9, 1.45, 1.3, 0.85, cache, f"columns of one tap\n{TILE} x C\n(L1, L2)")
    box(axes, 1.9, 0.15, 1.3, 0.75, cache, "weights of that tap\nC x C_out, packed\n(L2)")
    box(axes, 3.9, 0.95, 1.3, 0.85, cache, f"sums\n{TILE} x C_out\n(L2)")
    box(axes, 5.75, 0.95, 1.0, 0.85, memory, "output\n+ bias,\nactivation")
    arrow(axes, (1.3, 2.3), (1.88, 2.0), "4 corners")
    arrow(axes, (1.3, 1.35), (1.88, 1.75), "positions")
    arrow(axes, (3.25, 1.8), (3.88, 1.5), "")
    arrow(axes, (3.25, 0.55), (3.88, 1.15), "")
    arrow(axes, (5.25, 1.38), (5.73, 1.38), "")
    axes.text(3.55, 1.95, "x", fontsize=11)
    axes.text(3.2, 2.55, "for each of the KH KW taps", ha="center", fontsize=8, style="italic")
    axes.set_xlim(-0.1, 6.9)
    axes.set_ylim(0, 2.85)
    axes.axis("off")


def draw_times(axes: Any, document: dict[str, Any]) -> None:
    rows = times(document)
    for n, (label, colour) in enumerate((("dense conv2d", "#9db8d2"), ("ours", "#e07b39"), ("torch ops", "#bbbbbb"))):
        values = [(dense, ours, torch_ops)[n] / dense for _, ours, dense, torch_ops in rows]
        bars = axes.bar([i + 0.27 * (n - 1) for i in range(len(rows))], values, 0.25, label=label, color=colour)
        axes.bar_label(bars, fmt="%.1f", fontsize=7)
    axes.set_yscale("log")
    axes.set_xticks(range(len(rows)), [shape for shape, *_ in rows], fontsize=7)
    axes.set_ylabel("time / dense conv2d of the same size", fontsize=8)
    axes.legend(fontsize=7, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    default = newest()[0]
    document = json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else default).read_text())
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4), width_ratios=(1.45, 1), layout="constrained")
    draw_scheme(left)
    draw_times(right, document)
    figure.savefig(ROOT / "docs" / "deformable_convolution.png", dpi=110)
    print(table())


if __name__ == "__main__":
    main()
