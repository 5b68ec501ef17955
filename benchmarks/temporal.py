"""Flicker of what is made between: `python benchmarks/temporal.py`.

A photograph (scikit-image's coffee) is panned past, and zoomed into; every eighth of the true frames is given, and the
seven between are made of two at a time. Flicker is the mean absolute difference of consecutive frames, of 255 (1 less
VBench's temporal flickering), of the true video, of what a model made, and of the mean of both frames; what is made
should not have more than the true one. `pulse` is the largest of the eight differences over their mean: a frame that is
sharper or duller than its neighbours shows there. `--model NAME[=WEIGHTS]` adds others to flow-splat and vfi-s;
`--write` puts the table into docs/benchmarks.md.
"""

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch

from vfi.errors import require
from vfi.evaluation.sfibench.measures import flickering
from vfi.models.pictures import Pictures
from vfi.models.registry import load_model
from vfi_kernels.bench.report import between_marks, markdown_table, text_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
MARKS = "<!-- flicker: written by benchmarks/temporal.py -->\n", "<!-- end of the flicker -->\n"
WIDTH, HEIGHT, FACTOR, GIVEN = 480, 320, 8, 4
Frames = list[np.ndarray]
Made = Callable[[np.ndarray, np.ndarray, list[float]], Frames]
# Of a frame that is given to the next: how far it pans, px, and by how much it grows.
SCENES = {
    "pan of 12.4 px": (12.4, 1.0),
    "pan of 3.3 px": (3.3, 1.0),
    "zoom by 4 %": (0.0, 1.04),
    "zoom by 1.5 %": (0.0, 1.015),
}


def true_frames(pan: float, growth: float) -> Frames:
    """FACTOR from a given frame to the next, as a camera sees them: at three times the size, then averaged."""
    picture = require("skimage.data").coffee()
    height, width = picture.shape[:2]
    frames = []
    for number in range(FACTOR * (GIVEN - 1) + 1):
        t = number / FACTOR
        scale, fine = 1.05 * growth**t, 3
        matrix = np.array([[scale, 0, WIDTH / 2 - scale * width / 2], [0, scale, HEIGHT / 2 - scale * height / 2]])
        matrix[0, 2] += pan * ((GIVEN - 1) / 2 - t)
        matrix = np.array([[fine, 0, (fine - 1) / 2], [0, fine, (fine - 1) / 2]]) @ np.vstack((matrix, [0, 0, 1]))
        large = cv2.warpAffine(picture, matrix, (fine * WIDTH, fine * HEIGHT), flags=cv2.INTER_CUBIC)
        frames.append(cv2.resize(large, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
    return frames


def mean(first: np.ndarray, second: np.ndarray, times: list[float]) -> Frames:
    return [np.rint(first + (second.astype(np.float32) - first) * np.float32(t)).astype(np.uint8) for t in times]


def by_model(name: str) -> Made:
    name, _, weights = name.partition("=")
    pictures = Pictures(load_model(name, weights or None, "cpu"), "cpu")
    return lambda first, second, times: list(pictures.between(first, second, times))


def whole(truth: Frames, make: Made) -> Frames:
    """Those that are given, and those made between."""
    times = [step / FACTOR for step in range(1, FACTOR)]
    frames = [frame for first, second in pairwise(truth[::FACTOR]) for frame in (first, *make(first, second, times))]
    return [*frames, truth[-1]]


def measured(frames: Frames) -> tuple[float, float]:
    """Flicker, and pulse."""
    planes = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    steps = np.array([1 - flickering(planes[i : i + 2]) for i in range(len(frames) - 1)])
    around = steps.reshape(-1, FACTOR).mean(0)  # by the place between two given ones
    return 255 * float(steps.mean()), float(around.max() / around.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = "more models, some with their weights (default: none)"
    parser.add_argument("--model", nargs="+", default=[], metavar="NAME[=WEIGHTS]", help=what)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    makers = {"mean of both": mean} | {name: by_model(name) for name in ("flow-splat", "vfi-s", *options.model)}
    head, rows = ["scene", "true frames", *makers], []
    for scene, motion in SCENES.items():
        truth = true_frames(*motion)
        own, pulse = measured(truth)
        cells = [scene, f"{own:.3f} (1, {pulse:.2f})"]
        for make in makers.values():
            flicker, pulse = measured(whole(truth, make))
            cells.append(f"{flicker:.3f} ({flicker / own:.3f}, {pulse:.2f})")
        rows.append(cells)
        print(text_table(head, [cells]), flush=True)
    if options.write:
        PAGE.write_text(between_marks(PAGE.read_text(), MARKS, f"{markdown_table(head, rows)}\n"))


if __name__ == "__main__":
    main()
