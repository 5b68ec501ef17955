"""`vfi models`: which models there are, what weights they want, and how good and fast those are that want none."""

import argparse
import json
import time
from dataclasses import asdict, dataclass

from vfi.models.registry import MODELS, ModelEntry

SIZE = (720, 1280)
OWN, OTHERS = "MIT", "that of the file"


@dataclass(frozen=True)
class Line:
    """psnr: dB of the frames of a clip that were left out; seconds: for a frame between two, once everything is warm.
    None: not measured."""

    model: str
    what: str
    weights: str
    licence: str
    psnr: float | None
    seconds: float | None


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    what = "which models there are: their weights, licence, quality and speed"
    height, width = SIZE
    parser = commands.add_parser(
        "models",
        help=what,
        description=f"Prints {what}. Those that need no file make the frames again that are left out of a "
        f"short clip, and a frame of {width}x{height}, timed.",
    )
    parser.add_argument("--no-speed", dest="speed", action="store_false", help="measure neither quality nor speed")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    lines = []
    for name, entry in MODELS.items():
        ready = entry.weights is None or entry.shipped is not None
        psnr, seconds = measured(name) if options.speed and ready else (None, None)
        licence = OWN if ready or entry.ships else OTHERS
        lines.append(Line(name, entry.summary, weights_of(entry), licence, psnr, seconds))
    print(json.dumps([asdict(line) for line in lines], indent=1) if options.json else table(lines))
    if options.speed and not options.json:
        print(f"\n{explained()}")


def weights_of(entry: ModelEntry) -> str:
    """In words; "" if there are none."""
    if entry.weights is None:
        return ""
    if entry.ships is None:
        return entry.weights
    if entry.shipped is None:
        return f"not in this package; {entry.weights}"
    return f"in the package, {entry.shipped.stat().st_size / 1e6:.1f} MB"


def measured(name: str) -> tuple[float, float]:
    """The mean PSNR on the clip, and the seconds of a frame between two, on the CPU, at the second time."""
    import torch

    from vfi.commands import demo_clip
    from vfi.models.pictures import Pictures
    from vfi.models.registry import load_model

    model = load_model(name, device="cpu")
    pictures = Pictures(model, "cpu")
    psnr = demo_clip.quality(lambda first, second: next(iter(pictures.between(first, second, [0.5]))))
    scene = torch.nn.functional.interpolate(
        torch.rand(1, 3, 46, 81, generator=torch.Generator().manual_seed(0)), scale_factor=16, mode="bicubic"
    ).clamp(0, 1)
    height, width = SIZE
    pair = [scene[:, :, i : height + i, i : width + i].contiguous() for i in (0, 8)]
    for _ in range(2):
        start = time.perf_counter()
        model.interpolate(pair[0], pair[1], 0.5)
    return psnr, time.perf_counter() - start


def explained() -> str:
    """What the columns are."""
    from vfi.commands import demo_clip

    height, width = SIZE
    mean = demo_clip.quality(demo_clip.average)
    return (
        f"dB: PSNR of frames that were left out of a clip of Big Buck Bunny; the mean of both frames has {mean:.2f}.\n"
        f"seconds: of a frame of {width}x{height} between two, here."
    )


def table(lines: list[Line]) -> str:
    rows = [("model", "dB", "seconds", "licence", "what it is; its weights")]
    for line in lines:
        psnr, seconds = ("" if value is None else f"{value:.2f}" for value in (line.psnr, line.seconds))
        rows.append((line.model, psnr, seconds, line.licence, "; ".join(filter(None, (line.what, line.weights)))))
    name, quality, speed, licence = (max(len(row[i]) for row in rows) for i in range(4))
    return "\n".join(
        f"{row[0]:{name}}  {row[1]:>{quality}}  {row[2]:>{speed}}  {row[3]:{licence}}  {row[4]}" for row in rows
    )
