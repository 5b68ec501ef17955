"""What reading and measuring cost beside a model: `python benchmarks/evaluation.py [--rounds 5]`.

RIFE 4.25 with weights of no meaning, float32, on the CPU; triplets of 1920x1080 as PNG, of the clip of the demo made
larger; PSNR and one SSIM. The share is the time of the model alone, on frames in memory, over that of the whole
evaluation: in turn, as `vfi evaluate` does on a CPU, and one after the other. Beside it that of the seconds of all
cores, which other programs on the machine disturb less. Medians of rounds, in which each is timed once; of the shares,
of the rounds' own.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
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
ALONE = "the model alone"
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


@dataclass(frozen=True)
class Seconds:
    """Of a triplet, by the clock, and of all cores."""

    clock: float
    cores: float


def timed(known: list[TrueScene], work: Callable[[], object]) -> Seconds:
    clock, cores = time.perf_counter(), time.process_time()
    work()
    return Seconds((time.perf_counter() - clock) / len(known), (time.process_time() - cores) / len(known))


def alone(model: Interpolator, known: list[TrueScene]) -> Seconds:
    """Of the model, without reading and measuring."""
    given = [(scene.times, scene.read()) for scene in known]
    return timed(known, lambda: [scoring.between(model, frames, times, "cpu") for times, frames in given])


def evaluated(model: Interpolator, known: list[TrueScene], threads: int | None) -> Seconds:
    """Of all of it."""
    measures = {name: scoring.MEASURES[name] for name in MEASURES}
    numbers = range(len(known))
    return timed(known, lambda: list(scoring.scores(model, known, numbers, measures, "cpu", threads=threads)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="in which each way is timed once (default: 5)")
    options = parser.parse_args()
    keep_blocks()
    model = rife.load(variant="4.25")
    with tempfile.TemporaryDirectory() as folder:
        known = triplets(Path(folder))
        ways: dict[str, Callable[[], Seconds]] = {
            ALONE: lambda: alone(model, known),
            "evaluated in turn": lambda: evaluated(model, known, None),
            "one after the other": lambda: evaluated(model, known, 0),
        }
        alone(model, known[:1])
        rounds = [{name: way() for name, way in ways.items()} for _ in range(options.rounds)]
    print(f"{len(known)} triplets of {SIZE[0]}x{SIZE[1]}, RIFE 4.25, float32, {', '.join(MEASURES)}; of a triplet")
    print(f"{'':20} {'seconds':>8} {'share':>6} {'of cores':>9} {'share':>6}")
    for name in ways:
        cells = []
        for kind, width in (("clock", 8), ("cores", 9)):
            seconds = [getattr(each[name], kind) for each in rounds]
            shares = [getattr(each[ALONE], kind) / getattr(each[name], kind) for each in rounds]
            cells.append(f"{statistics.median(seconds):{width}.3f} {statistics.median(shares):6.2f}")
        print(f"{name:20} {' '.join(cells)}")


if __name__ == "__main__":
    main()
