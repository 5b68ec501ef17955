"""What reading and measuring cost beside a model: `python benchmarks/evaluation.py [--rounds 5]`.

RIFE 4.25 with weights of no meaning, float32, on the CPU; triplets of 1920x1080 as PNG, of the clip of the demo made
larger; PSNR and one SSIM. The share is the time of the model alone, on frames in memory, over that of the whole
evaluation: in turn, as `vfi evaluate` does on a CPU, and one after the other. Medians of rounds, in which each is timed
once; of the share, of the rounds' own.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from vfi.commands.demo_clip import clip
from vfi.data.truth import TrueScene
from vfi.evaluation import scoring
from vfi.files.allocator import keep_blocks
from vfi.files.images import write_image
from vfi.models import rife
from vfi.models.interpolator import Interpolator

SIZE = (1920, 1080)
MEASURES = ("psnr", "ssim_volume")
NAMES = ("im1.png", "im2.png", "im3.png")


def triplets(folder: Path) -> list[TrueScene]:
    """Every three frames of the clip that follow one another."""
    frames = [cv2.resize(frame, SIZE, interpolation=cv2.INTER_CUBIC) for frame in clip()]
    for first in range(len(frames) - 2):
        place = folder / f"{first}"
        place.mkdir()
        for name, frame in zip(NAMES, frames[first : first + 3], strict=True):
            write_image(place / name, frame)
    return scoring.scenes("triplets", folder)


def alone(model: Interpolator, known: list[TrueScene]) -> float:
    """Seconds of the model, without reading and measuring."""
    frames = [scene.read() for scene in known]
    start = time.perf_counter()
    for scene, each in zip(known, frames, strict=True):
        scoring.between(model, each, scene.times, "cpu")
    return time.perf_counter() - start


def evaluated(model: Interpolator, known: list[TrueScene], threads: int | None) -> float:
    """Seconds of all of it."""
    measures = {name: scoring.MEASURES[name] for name in MEASURES}
    start = time.perf_counter()
    found = list(scoring.scores(model, known, range(len(known)), measures, "cpu", threads=threads))
    assert len(found) == len(known)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="in which each way is timed once (default: 5)")
    options = parser.parse_args()
    keep_blocks()
    model = rife.load(variant="4.25")
    with tempfile.TemporaryDirectory() as folder:
        known = triplets(Path(folder))
        ways: dict[str, Callable[[], float]] = {
            "the model alone": lambda: alone(model, known),
            "evaluated in turn": lambda: evaluated(model, known, None),
            "one after the other": lambda: evaluated(model, known, 0),
        }
        rounds: list[dict[str, float]] = []
        alone(model, known[:1])
        for _ in range(options.rounds):
            rounds.append({name: way() / len(known) for name, way in ways.items()})
    print(
        f"{len(known)} triplets of {SIZE[0]}x{SIZE[1]}, RIFE 4.25, float32, {', '.join(MEASURES)}; seconds of a triplet"
    )
    for name in ways:
        share = statistics.median(each["the model alone"] / each[name] for each in rounds)
        print(f"{name:20} {statistics.median(each[name] for each in rounds):.3f}  {share:.2f}")


if __name__ == "__main__":
    main()
