"""What the simulator's model says of a row beside what was measured (docs/gpu.md); both are of one call."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_steps.process import ROOT

FILE = ROOT / "benchmarks/results/simulated.json"
SAME = ("case", "shape", "dtype", "layout", "mode", "flow", "deterministic", "tf32")
WAYS = {"ours": False, "ours deterministic": True}  # what a benchmark calls it: whether it is deterministic
HEADER = ("case", "conditions", "measured us", "predicted us", "by", "measured over predicted")
Row = dict[str, Any]


def bounds(file: Path = FILE) -> dict[tuple, Row]:
    """The rows of whole calls; none without a file."""
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    return {tuple(row[name] for name in SAME): row for row in rows if row["kernel"] == "all"}


def known_gpu(name: str, row: Row) -> str | None:
    """The GPU of the model that a device's name holds: "NVIDIA GeForce RTX 4090"."""
    return next((gpu for gpu in row["bound_us"] if gpu in name), None)


def beside(measured: Sequence[Row], device: str, predictions: dict[tuple, Row]) -> list[Row]:
    """For each row, and each way to run ours: its median, and the bound where the model has the call and the GPU."""
    found = []
    for row in measured:
        for way, deterministic in WAYS.items():
            if way not in row["timings"]:
                continue
            key = {**row, "deterministic": deterministic, "tf32": False}
            us = 1000 * row["timings"][way]["median_ms"]
            model = predictions.get(tuple(key[name] for name in SAME))
            gpu = model and known_gpu(device, model)
            bound = model["bound_us"][gpu] if model and gpu else None
            found.append({
                **{name: key[name] for name in SAME}, "measured_us": us, "predicted_us": bound,
                "by": model["bound_by"][gpu] if model and gpu else None, "ratio": us / bound if bound else None,
            })  # fmt: skip
    return found


def device_of(report: Row) -> str:
    gpus = report.get("machine", {}).get("gpus") or [{"name": ""}]
    return gpus[0]["name"]


def cells(row: Row) -> tuple[str, ...]:
    words = [row[name] for name in ("shape", "dtype", "layout", "mode")] + ["deterministic"] * row["deterministic"]
    bound, ratio = (
        "-" if row[name] is None else f"{row[name]:.{digits}f}" for name, digits in (("predicted_us", 1), ("ratio", 2))
    )
    return (row["case"], " ".join(words), f"{row['measured_us']:.1f}", bound, row["by"] or "-", ratio)


def table(rows: Sequence[Row]) -> str:
    lines = [HEADER, *map(cells, rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(HEADER))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)
