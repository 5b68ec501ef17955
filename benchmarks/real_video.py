"""Frames of real clips that were left out, made again: `python benchmarks/real_video.py --clips FOLDER`.

Of each cut in benchmarks/clips.py every second frame is left out and made of its neighbours: as their mean, by ffmpeg's
minterpolate in each of its modes, by flow-splat, and by the models of `--model NAME[=WEIGHTS]`. They take turns, cut by
cut. Printed are PSNR and SSIM of the frames left out, in the mean over each cut, and
seconds a frame. minterpolate's are those of ffmpeg with the filter beyond those of ffmpeg without it.
"""

import argparse
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clips import CLIPS, fetch, frames

from vfi.evaluation.metrics import compare
from vfi.files.allocator import keep_blocks
from vfi.models.pictures import Pictures
from vfi.models.registry import load_model
from vfi_kernels.bench.report import text_table

Frames = list[np.ndarray]
Maker = Callable[[Frames], tuple[Frames, float]]
THREADS = 2
# Frames per second of what is given: no matter which.
RATE = 10
MODES = {"mci": "", "aobmc": ":mc_mode=aobmc", "vsbmc": ":mc_mode=aobmc:me_mode=bidir:vsbmc=1"}


def mean(given: Frames) -> tuple[Frames, float]:
    start = time.perf_counter()
    made = [np.rint(a.astype(np.float32) * 0.5 + b * np.float32(0.5)).astype(np.uint8) for a, b in pairwise(given)]
    return made, (time.perf_counter() - start) / len(made)


def by_model(name: str, weights: str | None) -> Maker:
    pictures = Pictures(load_model(name, weights, "cpu"), "cpu")

    def make(given: Frames) -> tuple[Frames, float]:
        start = time.perf_counter()
        made = [next(pictures.between(a, b, [0.5])) for a, b in pairwise(given)]
        return made, (time.perf_counter() - start) / len(made)

    return make


def minterpolate(mode: str) -> Maker:
    def make(given: Frames) -> tuple[Frames, float]:
        made, with_it = through_ffmpeg(given, f"minterpolate=fps={2 * RATE}:scd=none{MODES[mode]}")
        _, without = through_ffmpeg(given, f"fps={2 * RATE}")
        return made[1 : 2 * len(given) - 1 : 2], (with_it - without) / (len(given) - 1)

    return make


def through_ffmpeg(given: Frames, graph: str) -> tuple[Frames, float]:
    """The filter's result, from the time of the first frame on, and seconds."""
    height, width = given[0].shape[:2]
    # The filter looks beyond both ends: what is at the ends stands there for a while, at the start for two frames.
    padded = [given[0], *given, given[-1], given[-1]]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command = ["ffmpeg", "-v", "error", "-threads", str(THREADS), *raw, "-r", str(RATE), "-i", "-"]
    command += ["-vf", graph, "-filter_threads", str(THREADS), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    start = time.perf_counter()
    done = subprocess.run(command, input=b"".join(map(np.ndarray.tobytes, padded)), stdout=subprocess.PIPE, check=True)
    seconds = time.perf_counter() - start
    result = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    return list(result[2:]), seconds


def rows(makers: dict[str, Maker], folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for clip in CLIPS:
        if names and clip.name not in names:
            continue
        for first, last in clip.cuts:
            whole = frames(folder, clip, first, last)
            given, left_out = whole[::2], whole[1::2]
            for name, make in makers.items():
                made, seconds = make(given)
                qualities = [compare(a, b) for a, b in zip(made, left_out, strict=True)]
                height, width, _ = whole[0].shape
                found.append({
                    "clip": clip.name, "frames": f"{first} to {last}", "size": f"{width}x{height}",
                    "by": name, "psnr": float(np.mean([q.psnr for q in qualities])),
                    "ssim": float(np.mean([q.ssim for q in qualities])), "seconds": seconds,
                })  # fmt: skip
                print(f"{clip.name} {first} to {last}, {name}: {found[-1]['psnr']:.2f} dB, {seconds:.3f} s", flush=True)
    return found


def table(found: Sequence[dict[str, Any]]) -> str:
    """A row for each cut and for the mean over them; PSNR, SSIM and seconds of each way."""
    ways = list(dict.fromkeys(row["by"] for row in found))
    by_cut: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for row in found:
        by_cut.setdefault((row["clip"], row["frames"], row["size"]), {})[row["by"]] = row

    def cell(values: Sequence[dict[str, Any]]) -> str:
        psnr, ssim, seconds = (np.mean([row[each] for row in values]) for each in ("psnr", "ssim", "seconds"))
        return f"{psnr:.2f} / {ssim:.3f} / {seconds:.2f}"

    lines = [
        [f"{clip}, {span}", size, *(cell([cut[way]]) for way in ways)] for (clip, span, size), cut in by_cut.items()
    ]
    lines.append(["mean", "", *(cell([cut[way] for cut in by_cut.values()]) for way in ways)])
    return text_table(["cut", "size", *map(str, ways)], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of the clips; what is missing is fetched")
    parser.add_argument("--clip", nargs="+", default=[], help="names of clips (default: all)")
    parser.add_argument("--model", nargs="+", default=["flow-splat"], metavar="NAME[=WEIGHTS]",
                        help="models of vfi (default: flow-splat)")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    options = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        raise SystemExit("benchmarks/real_video.py: expected an ffmpeg program to compare with, got none")
    keep_blocks()
    torch.set_num_threads(THREADS)
    fetch(options.clips, [clip for clip in CLIPS if clip.cuts])
    makers: dict[str, Maker] = {"mean": mean, **{f"minterpolate {mode}": minterpolate(mode) for mode in MODES}}
    for model in options.model:
        name, _, weights = model.partition("=")
        makers[name] = by_model(name, weights or None)
    found = rows(makers, options.clips, options.clip)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    print(table(found))


if __name__ == "__main__":
    main()
