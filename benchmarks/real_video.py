"""Frames of real clips that were left out, made again: `python benchmarks/real_video.py --clips FOLDER`.

Of each cut in benchmarks/clips.py every second frame is left out and made of its neighbours: as their mean, by ffmpeg's
minterpolate in each of its modes, by flow-splat, and by the models of `--model NAME[=WEIGHTS]`. They take turns, cut by
cut. Printed are PSNR, SSIM, and LPIPS where its weights are given, of the frames left out, in the mean over each cut,
and for each frame seconds and processor seconds, which count less of what else the machine does. minterpolate's are
those of ffmpeg with the filter beyond those of ffmpeg without it. What `--json FILE` has already is not measured again.
`--write` puts the tables into docs/benchmarks.md.
"""

import argparse
import json
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clips import CLIPS, fetch, frames

from vfi.commands import demo_clip
from vfi.evaluation.metrics import compare
from vfi.files.allocator import keep_blocks
from vfi.files.images import to_tensor
from vfi.models.pictures import Pictures
from vfi.models.registry import load_model
from vfi.networks import lpips
from vfi_kernels.bench.report import between_marks, markdown_table, text_table


@dataclass(frozen=True)
class Cost:
    """Of one frame: by the clock, and of all processors, of ffmpeg's process too."""

    seconds: float
    processor: float


Row = dict[str, Any]
Frames = list[np.ndarray]
Maker = Callable[[Frames], tuple[Frames, Cost]]
PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- clips: written by benchmarks/real_video.py -->\n", "<!-- end of the clips -->\n"
THREADS = 2
# Frames per second of what is given: no matter which.
RATE = 10
MODES = {"mci": "", "aobmc": ":mc_mode=aobmc", "vsbmc": demo_clip.FINEST}


class Clock:
    """Time since it was made."""

    def __init__(self) -> None:
        self.start = self.now()

    @staticmethod
    def now() -> tuple[float, float]:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return time.perf_counter(), sum(each.ru_utime + each.ru_stime for each in used)

    def cost(self, frames: int) -> Cost:
        return Cost(*((now - then) / frames for now, then in zip(self.now(), self.start)))


def by_pairs(make: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Maker:
    """`make` gives the middle of two frames."""

    def made(given: Frames) -> tuple[Frames, Cost]:
        clock = Clock()
        results = [make(a, b) for a, b in pairwise(given)]
        return results, clock.cost(len(results))

    return made


def by_model(name: str, weights: str | None) -> Maker:
    pictures = Pictures(load_model(name, weights, "cpu"), "cpu")
    return by_pairs(lambda a, b: next(pictures.between(a, b, [0.5])))


def minterpolate(mode: str) -> Maker:
    def make(given: Frames) -> tuple[Frames, Cost]:
        clock = Clock()
        made = demo_clip.minterpolated(given, MODES[mode], RATE, THREADS)
        whole, clock = clock.cost(len(made)), Clock()
        demo_clip.through_ffmpeg(given, f"fps={2 * RATE}", RATE, THREADS)
        rest = clock.cost(len(made))
        return made, Cost(whole.seconds - rest.seconds, whole.processor - rest.processor)

    return make


def rows(
    makers: dict[str, Maker], folder: Path, names: Sequence[str], apart: lpips.LPIPS | None, known: Sequence[Row]
) -> Iterator[Row]:
    """A row of `known` where there is one."""
    found = {(row["clip"], row["frames"], row["by"]): row for row in known}
    for clip in CLIPS:
        if names and clip.name not in names:
            continue
        for first, last in clip.cuts:
            span = f"{first} to {last}"
            whole = frames(folder, clip, first, last)
            given, left_out = whole[::2], whole[1::2]
            height, width, _ = whole[0].shape
            for name, make in makers.items():
                if (clip.name, span, name) in found:
                    yield found[clip.name, span, name]
                    continue
                made, cost = make(given)
                row = {"clip": clip.name, "frames": span, "size": f"{width}x{height}", "by": name}
                row |= {**scores(made, left_out, apart), **vars(cost)}
                spent = f"{cost.seconds:.3f} s, {cost.processor:.3f} s of processors"
                print(f"{clip.name} {span}, {name}: {row['psnr']:.2f} dB, {spent}", flush=True)
                yield row


@torch.no_grad()
def scores(made: Frames, left_out: Frames, apart: lpips.LPIPS | None) -> dict[str, float]:
    qualities = [compare(a, b) for a, b in zip(made, left_out, strict=True)]
    found = {name: float(np.mean([getattr(each, name) for each in qualities])) for name in ("psnr", "ssim")}
    if apart is not None:
        found["lpips"] = float(np.mean([float(apart(to_tensor(a), to_tensor(b))) for a, b in zip(made, left_out)]))
    return found


def by_cut(found: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """PSNR: a row for each cut and one for the mean over them, a column for each way."""
    ways = list(dict.fromkeys(row["by"] for row in found))
    cuts: dict[tuple[str, str], dict[str, float]] = {}
    for row in found:
        cuts.setdefault((f"{row['clip']}, {row['frames']}", row["size"]), {})[row["by"]] = row["psnr"]
    lines = [[*cut, *(f"{reached[way]:.2f}" for way in ways)] for cut, reached in cuts.items()]
    lines.append(["mean", "", *(f"{np.mean([reached[way] for reached in cuts.values()]):.2f}" for way in ways)])
    return ["PSNR, dB", "size", *ways], lines


def by_way(found: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Means over all cuts, and of what a frame costs over those of the largest size."""
    largest = max((row["size"] for row in found), key=lambda size: int(np.prod([int(n) for n in size.split("x")])))
    qualities = {"psnr": ("PSNR, dB", 2), "ssim": ("SSIM", 4), "lpips": ("LPIPS", 4)}
    shown = {name: how for name, how in qualities.items() if name in found[0]}
    lines = []
    for way in dict.fromkeys(row["by"] for row in found):
        own = [row for row in found if row["by"] == way]
        large = [row for row in own if row["size"] == largest]
        lines.append([
            way, *(f"{np.mean([row[name] for row in own]):.{digits}f}" for name, (_, digits) in shown.items()),
            *(f"{np.mean([row[name] for row in large]):.2f}" for name in ("seconds", "processor")),
        ])  # fmt: skip
    costs = [f"seconds a frame, {largest}", "processor seconds"]
    return ["mean over the cuts", *(title for title, _ in shown.values()), *costs], lines


def written(page: str, found: Sequence[Row]) -> str:
    """`page` with the tables between the markers."""
    tables = "\n\n".join(markdown_table(*table(found)) for table in (by_way, by_cut))
    return between_marks(page, (BEGIN, END), f"\n{tables}\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of the clips; what is missing is fetched")
    parser.add_argument("--clip", nargs="+", default=[], help="names of clips (default: all)")
    parser.add_argument("--model", nargs="+", default=["flow-splat"], metavar="NAME[=WEIGHTS]",
                        help="models of vfi (default: flow-splat)")  # fmt: skip
    parser.add_argument("--lpips", nargs=2, type=Path, metavar=("ALEXNET", "HEADS"), help="LPIPS' two files of weights")
    parser.add_argument("--json", type=Path, help="the rows: what is there is taken, what is new is added")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        raise SystemExit("benchmarks/real_video.py: expected an ffmpeg program to compare with, got none")
    keep_blocks()
    torch.set_num_threads(THREADS)
    fetch(options.clips, [clip for clip in CLIPS if clip.cuts])
    makers = {"mean": by_pairs(demo_clip.average), **{f"minterpolate {mode}": minterpolate(mode) for mode in MODES}}
    for model in options.model:
        name, _, weights = model.partition("=")
        makers[name] = by_model(name, weights or None)
    known = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    apart = lpips.load(*options.lpips) if options.lpips else None
    found: list[Row] = []
    for row in rows(makers, options.clips, options.clip, apart, known):
        found.append(row)
        if options.json and row not in known:
            known.append(row)
            options.json.write_text(json.dumps(known, indent=1))
    print(text_table(*by_way(found)), text_table(*by_cut(found)), sep="\n\n")
    if options.write:
        PAGE.write_text(written(PAGE.read_text(), found))


if __name__ == "__main__":
    main()
