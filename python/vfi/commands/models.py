"""`vfi models`: which models there are, what weights they want, and how fast those are here that want none."""

import argparse
import json
import time
from dataclasses import asdict, dataclass

from vfi.models.registry import MODELS, ModelEntry

SIZE = (720, 1280)
OWN, OTHERS = "MIT", "that of the file"


@dataclass(frozen=True)
class Line:
    """seconds: for a frame between two, once everything is warm; None: not measured."""

    model: str
    what: str
    weights: str
    licence: str
    seconds: float | None


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    what = "which models there are: their weights, licence and speed"
    height, width = SIZE
    parser = commands.add_parser(
        "models",
        help=what,
        description=f"Prints {what}. Those that need no file make frames of {width}x{height}, timed.",
    )
    parser.add_argument("--no-speed", dest="speed", action="store_false", help="do not measure how fast they are")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    lines = []
    for name, entry in MODELS.items():
        ready = entry.weights is None or entry.shipped is not None
        seconds = measured(name) if options.speed and ready else None
        licence = OWN if ready or entry.ships else OTHERS
        lines.append(Line(name, entry.summary, weights_of(entry), licence, seconds))
    print(json.dumps([asdict(line) for line in lines], indent=1) if options.json else table(lines))


def weights_of(entry: ModelEntry) -> str:
    """In words; "" if there are none."""
    if entry.weights is None:
        return ""
    if entry.ships is None:
        return entry.weights
    if entry.shipped is None:
        return f"not in this package; {entry.weights}"
    return f"in the package, {entry.shipped.stat().st_size / 1e6:.1f} MB"


def measured(name: str) -> float:
    """Seconds for a frame between two, on the CPU, at the second time."""
    import torch

    from vfi.models.registry import load_model

    model = load_model(name)
    scene = torch.nn.functional.interpolate(
        torch.rand(1, 3, 46, 81, generator=torch.Generator().manual_seed(0)), scale_factor=16, mode="bicubic"
    ).clamp(0, 1)
    height, width = SIZE
    pair = [scene[:, :, i : height + i, i : width + i].contiguous() for i in (0, 8)]
    for _ in range(2):
        start = time.perf_counter()
        model.interpolate(pair[0], pair[1], 0.5)
    return time.perf_counter() - start


def table(lines: list[Line]) -> str:
    rows = [("model", "seconds", "licence", "what it is; its weights")]
    for line in lines:
        seconds = "" if line.seconds is None else f"{line.seconds:.2f}"
        rows.append((line.model, seconds, line.licence, "; ".join(filter(None, (line.what, line.weights)))))
    name, speed, licence = (max(len(row[i]) for row in rows) for i in range(3))
    return "\n".join(f"{row[0]:{name}}  {row[1]:>{speed}}  {row[2]:{licence}}  {row[3]}" for row in rows)
