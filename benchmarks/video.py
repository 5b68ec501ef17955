"""From file to file: `python benchmarks/video.py [--frames 120] [--bits 10]`, with a model that costs nothing.

A made-up clip of 1920x1080 in H.264 is written anew with every frame twice: by `vfi interpolate`'s path (decoded, to
RGB, cuts looked for, back, encoded), and by the ffmpeg program through RGB with the same encoder and settings, on two
threads. They take turns; printed are frames per second, and the ratio in each turn. `--memory N` reads and writes N
frames of 160x90 instead, and prints what malloc has in use and the resident size as they go by. `--network` has RIFE
4.25 in float32 work between the frames, and prints the wall time over that of the network alone on as many pairs, and
what it would be if the processors shared all of the work, that of the files too, and were never idle. x264 encodes the
last forty frames or so once all are there.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `vfi` does, before torch is imported
import torch

from vfi.commands import interpolate_video
from vfi.commands.video_plan import VideoJob
from vfi.engines.plans import Plan, built
from vfi.files.allocator import keep_blocks
from vfi.files.images import to_tensor
from vfi.models import rife
from vfi.models.interpolator import Interpolator, interpolate_many
from vfi.video.colours import from_rgb
from vfi.video.encoder import BT709
from vfi.video.encodings import Encoding

MALLINFO = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
SETTINGS = {"crf": "17", "preset": "medium", "threads": "2"}


class Repeated(Interpolator):
    """The first frame at every time."""

    def interpolate(self, frame0: torch.Tensor, frame1: torch.Tensor, t: float) -> torch.Tensor:
        return frame0


class Given(Interpolator):
    """Frames that were there before, one after another, each after a network, if there is one, has worked in vain:
    weights at random make frames that no encoder expects."""

    def __init__(self, network: Interpolator | None, results: list[torch.Tensor]) -> None:
        super().__init__()
        self.network, self.results = network, iter(results)

    def interpolate(self, frame0: torch.Tensor, frame1: torch.Tensor, t: float) -> torch.Tensor:
        if self.network is not None:
            self.network.interpolate(frame0, frame1, t)
        return next(self.results)


def pictures(width: int, height: int, count: int, shift: int = 0) -> Iterator[np.ndarray]:
    """A picture with detail, in motion by 3 pixels a frame; `shift` pixels further on."""
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 60, (height, width * 2, 3))
    x, y = np.arange(width * 2), np.arange(height)[:, None]
    soft = 100 + 60 * np.sin(x / 37.0) * np.cos(y / 53.0)
    wide = ((soft[..., None] + fine) * 257).clip(0, 65535).astype(np.uint16)
    for number in range(count):
        first = (number * 3 + shift) % width
        yield wide[:, first : first + width]


def make(path: Path, width: int, height: int, count: int, pixels: str) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        for number, rgb in enumerate(pictures(width, height, count)):
            frame = from_rgb(np.ascontiguousarray(rgb), pixels, BT709)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def ours(source: Path, out: Path) -> None:
    job = VideoJob(source, out, factor=Fraction(2), progress="none", overwrite=True)
    interpolate_video.run(job, [(Repeated(), "cpu")])


def theirs(source: Path, out: Path, pixels: str) -> None:
    rgb = "rgb48le" if "10" in pixels else "rgb24"
    settings = [word for name, value in SETTINGS.items() for word in (f"-{name}", value)]
    command = ["ffmpeg", "-v", "error", "-y", "-threads", "2", "-i", str(source), "-vf", f"format={rgb},fps=50"]
    subprocess.run([*command, "-pix_fmt", pixels, "-c:v", "libx264", *settings, str(out)], check=True)


def rates(count: int, bits: int, turns: int) -> None:
    pixels = "yuv420p10le" if bits == 10 else "yuv420p"
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.mp4", Path(folder) / "out.mp4"
        make(source, 1920, 1080, count, pixels)
        ratios = []
        for _ in range(turns):
            took = []
            for run in (lambda: ours(source, out), lambda: theirs(source, out, pixels)):
                begun = time.monotonic()
                run()
                took.append(time.monotonic() - begun)
            ratios.append(took[1] / took[0])
            print(f"{bits} bits: ours {2 * count / took[0]:.1f}, ffmpeg {2 * count / took[1]:.1f} frames per second")
        print(f"{bits} bits: {statistics.median(ratios):.2f} of ffmpeg's rate, in turns "
              f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}")  # fmt: skip


def with_network(count: int, turns: int, preset: str | None) -> None:
    torch.manual_seed(0)
    model = built(rife.load(variant="4.25"), Plan("torch", "float32"))
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.mp4", Path(folder) / "out.mp4"
        make(source, 1920, 1080, count, "yuv420p")
        encoding = Encoding(preset=preset)
        job = VideoJob(source, out, factor=Fraction(2), progress="none", overwrite=True, encoding=encoding)
        frames, between = ([to_tensor(rgb) for rgb in pictures(1920, 1080, count, shift)] for shift in (0, 1))

        def network() -> None:
            with torch.inference_mode():
                # Tensors of their own: the model keeps what it encoded of a frame for as long as the frame is there.
                for first, second in pairwise(frame.clone() for frame in frames):
                    interpolate_many(model, first, second, [0.5])

        runs: dict[str, Callable[[], None]] = {
            "file to file": lambda: interpolate_video.run(job, [(Given(model, between), "cpu")]),
            "the network alone": network,
            "the files alone": lambda: interpolate_video.run(job, [(Given(None, between), "cpu")]),
        }
        ratios, floors = [], []
        for _ in range(turns + 1):
            walls, cpus = {}, {}
            for name, run in runs.items():
                begun, used = time.monotonic(), time.process_time()
                run()
                walls[name], cpus[name] = time.monotonic() - begun, time.process_time() - used
            whole, alone, files = runs
            ratios.append(walls[whole] / walls[alone])
            floors.append((cpus[alone] + cpus[files]) / len(os.sched_getaffinity(0)) / walls[alone])
            print("; ".join(f"{name} {walls[name]:.1f} s ({cpus[name]:.1f} s of processors)" for name in runs))
        print(f"{statistics.median(ratios[1:]):.3f} of the network's own time; were no processor ever idle "
              f"{statistics.median(floors[1:]):.3f}")  # fmt: skip


def memory(count: int) -> None:
    import ctypes

    class Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in MALLINFO.split()]

    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Info

    class Told(Repeated):
        made = 0

        def interpolate(self, frame0: torch.Tensor, frame1: torch.Tensor, t: float) -> torch.Tensor:
            self.made += 1
            if self.made % max(1, count // 20) == 0 or self.made == 1000:
                info = mallinfo2()
                resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
                used = (info.uordblks + info.hblkhd) / 1e6
                print(f"{self.made} frames: {used:.1f} MB in use, {resident / 1e6:.0f} MB resident", flush=True)
            return frame0

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.mkv"
        make(source, 160, 90, count, "yuv420p")
        job = VideoJob(source, Path(folder) / "out.mkv", factor=Fraction(2), progress="none")
        interpolate_video.run(job, [(Told(), "cpu")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=120, help="of the clip (default 120)")
    parser.add_argument(
        "--bits", type=int, nargs="+", choices=(8, 10), default=[8, 10], help="per sample (default both)"
    )
    parser.add_argument("--turns", type=int, default=3, help="how often each side runs (default 3)")
    parser.add_argument("--memory", type=int, metavar="N", help="of N tiny frames instead (default: rates)")
    parser.add_argument("--network", action="store_true", help="with RIFE 4.25 instead (default: rates)")
    parser.add_argument("--threads", type=int, default=2, help="of the network (default 2)")
    parser.add_argument(
        "--give-back",
        action="store_true",
        help="free memory goes back to the system, as it does without vfi.files.allocator",
    )
    parser.add_argument("--preset", help="of x264, with --network (default: that of vfi)")
    options = parser.parse_args()
    if not options.give_back:
        keep_blocks()
    torch.set_num_threads(options.threads)
    if options.memory:
        memory(options.memory)
        return
    if options.network:
        with_network(options.frames, options.turns, options.preset)
        return
    if shutil.which("ffmpeg") is None:
        raise SystemExit("benchmarks/video.py: expected an ffmpeg program to compare with, got none")
    for bits in options.bits:
        rates(options.frames, bits, options.turns)


if __name__ == "__main__":
    main()
