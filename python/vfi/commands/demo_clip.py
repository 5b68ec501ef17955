"""Every second frame of a real clip left out and made again: by a model, as the mean, by ffmpeg's minterpolate.

big_buck_bunny.mp4: (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0; nine frames, made smaller.
"""

import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from vfi.drawing.panels import Panel, strip
from vfi.evaluation import metrics
from vfi.files.images import write_image
from vfi.video.reader import VideoReader

CLIP = Path(__file__).with_name("big_buck_bunny.mp4")
CREDITS = "Big Buck Bunny ((c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0)"
RATE = 25  # of the frames that are given
FINEST = ":mc_mode=aobmc:me_mode=bidir:vsbmc=1"  # of minterpolate
Frames = list[np.ndarray]


def show(middle: Callable[[np.ndarray, np.ndarray], np.ndarray], name: str, picture: Path, width: int = 640) -> None:
    """Prints the quality of each way, and writes its frame in the middle of the clip.

    middle: of two frames (H, W, 3), RGB uint8, the one between. width: of each in the picture, pixels.
    """
    whole = clip()
    given, truth = whole[::2], whole[1::2]
    ways: dict[str, Frames] = {
        "average of the two frames": [average(*pair) for pair in pairwise(given)],
        name: [middle(*pair) for pair in pairwise(given)],
    }
    if shutil.which("ffmpeg"):
        ways["ffmpeg's minterpolate"] = minterpolated(given, FINEST, RATE)
    print(f"A clip: {CREDITS}. Every second frame is left out.\n")
    for way, made in ways.items():
        found = [metrics.compare(*pair) for pair in zip(made, truth, strict=True)]
        psnr, ssim = (statistics.mean(values) for values in ((q.psnr for q in found), (q.ssim for q in found)))
        print(f"{way:28}  PSNR {psnr:5.2f} dB   SSIM {ssim:.4f}")
    if len(ways) == 2:
        print("ffmpeg is not installed: its minterpolate is not compared.")
    shown = len(truth) // 2
    panels = [Panel(way, made[shown]) for way, made in ways.items()]
    write_image(picture, strip([*panels, Panel("the true frame", truth[shown])], columns=2, panel_width=width))
    print(f"wrote {picture}\n")


def quality(middle: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
    """The mean PSNR, dB, of what is made in place of the frames that are left out; middle: as of `show`."""
    whole = clip()
    made = (middle(*pair) for pair in pairwise(whole[::2]))
    return statistics.mean(metrics.compare(*pair).psnr for pair in zip(made, whole[1::2], strict=True))


def clip() -> Frames:
    """RGB, uint8."""
    reader = VideoReader(CLIP)
    try:
        return [frame.rgb for frame in reader.frames()]
    finally:
        reader.close()


def average(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    mean: np.ndarray = np.rint(first * np.float32(0.5) + second * np.float32(0.5))
    return mean.astype(np.uint8)


def minterpolated(given: Sequence[np.ndarray], settings: str, rate: int, threads: int = 0) -> Frames:
    """The frames in the middle of each two, by ffmpeg's minterpolate with these settings; the rest as of below."""
    made = through_ffmpeg(given, f"minterpolate=fps={2 * rate}:scd=none{settings}", rate, threads)
    return made[1 : 2 * len(given) - 1 : 2]


def through_ffmpeg(given: Sequence[np.ndarray], graph: str, rate: int, threads: int = 0) -> Frames:
    """What ffmpeg's filters make of frames (H, W, 3), RGB uint8, from the first one's time on. threads: 0 is all."""
    height, width = given[0].shape[:2]
    # minterpolate looks beyond both ends: what is at the ends stands there for a while, at the start for two frames.
    padded = [given[0], *given, given[-1], given[-1]]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command = ["ffmpeg", "-v", "error", "-threads", str(threads), *raw, "-r", str(rate), "-i", "-"]
    command += ["-vf", graph, "-filter_threads", str(threads), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, input=b"".join(map(np.ndarray.tobytes, padded)), stdout=subprocess.PIPE, check=True)
    return list(np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)[2:])
