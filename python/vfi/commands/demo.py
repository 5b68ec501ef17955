"""A first result without any data: `python -m vfi.commands.demo --out out`.

Interpolates a scene whose true frames are known, and a real clip beside what else needs no weights; prints quality and
speed, and writes strips, frames and a video.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from vfi.commands import demo_clip
from vfi.commands.interpolate_images import explained, strip_panels
from vfi.commands.moving_photographs import CREDITS, HEIGHT, WIDTH, true_frame
from vfi.drawing.panels import strip
from vfi.errors import UserError, require
from vfi.evaluation import metrics
from vfi.files.images import Image, to_array, to_tensor, write_image
from vfi.models.devices import choose_device
from vfi.models.interpolator import Interpolator, interpolate_many
from vfi.models.registry import load_model
from vfi.video.encoder import Picture
from vfi.video.encodings import Encoding
from vfi.video.writer import VideoWriter

NAME = "flow-splat"
# The video: this many frames of the scene per second become FACTOR times as many.
_KEYFRAMES, _RATE, _FACTOR = 9, 6, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; the exit code is 2 if something that can be put right is missing."""
    parser = argparse.ArgumentParser(prog="python -m vfi.commands.demo", description="Interpolates moved photographs.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the results (default: %(default)s)")
    parser.add_argument("--figure", type=Path, help="write only a small strip for a page, to this file")
    parser.add_argument("--clip-figure", type=Path, help="write only that of the real clip, to this file")
    parser.add_argument("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")
    options = parser.parse_args(arguments)
    try:
        for module in ("cv2", "av", "skimage"):
            require(module)
        device = choose_device(options.device)
        model = load_model(NAME, device=device)
        if options.figure is not None:
            _write_figure(model, device, options.figure)
        elif options.clip_figure is not None:
            _show_clip(model, device, options.clip_figure, width=400)
        else:
            options.out.mkdir(parents=True, exist_ok=True)
            _measure(model, device, options.out)
            _show_clip(model, device, options.out / "clip.png")
            _write_video(model, device, options.out / "demo.mp4")
    except UserError as error:
        print(f"demo: {error.for_command()}", file=sys.stderr)
        return 2
    return 0


def _measure(model: Interpolator, device: str, out: Path) -> None:
    """Quality against the true middle frame, time per frame, and the strip."""
    print(f"Photographs: {CREDITS}.")
    print("They are moved by a known motion, one in front of the other, so the true frame between is known exactly.\n")
    pair, truth = (true_frame(0), true_frame(1)), true_frame(0.5)
    result = _middle(model, device, pair)
    average = demo_clip.average(*pair)
    for name, frame in (("average of the two frames", average), (NAME, result)):
        quality = metrics.compare(frame, truth)
        print(f"{name:28}  PSNR {quality.psnr:5.2f} dB   SSIM {quality.ssim:.4f}")
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        _middle(model, device, pair)
        seconds.append(time.perf_counter() - start)
    print(
        f"{'time per frame':28}  {statistics.median(seconds):.2f} s ({WIDTH}x{HEIGHT}, {device}, with optical flow)\n"
    )
    for name, frame in (("frame0", pair[0]), ("interpolated", result), ("frame1", pair[1]), ("true", truth)):
        write_image(out / f"{name}.png", frame)
    explanation = explained(model, pair, 0.5, device)
    panels = strip_panels(pair, result, 0.5, explanation, Image(truth, gray=False))
    write_image(out / "strip.png", strip(panels))
    print(f"wrote {out}/strip.png and its frames as {out}/*.png\n")


def _write_video(model: Interpolator, device: str, path: Path) -> None:
    """The scene at a low frame rate on the left, interpolated on the right."""
    rate = Fraction(_RATE * _FACTOR)
    writer = VideoWriter(path, Picture(2 * WIDTH, HEIGHT, rate, 1 / rate), Encoding())
    keyframes = [true_frame(i) for i in range(_KEYFRAMES)]
    times = [i / _FACTOR for i in range(1, _FACTOR)]
    number = 0
    try:
        for first, second in pairwise(keyframes):
            between = interpolate_many(model, to_tensor(first, device), to_tensor(second, device), times)
            for frame in (first, *map(to_array, between)):
                writer.write(np.concatenate((first, frame), axis=1), number / rate)
                number += 1
        writer.finish()
    finally:
        writer.discard()
    print(f"wrote {path} (left: {_RATE} frames per second as given, right: {_RATE * _FACTOR} by interpolation)")


def _write_figure(model: Interpolator, device: str, path: Path) -> None:
    """Average, result, motion and holes in one row of small panels."""
    pair = true_frame(0), true_frame(1)
    _, result, _, average, *rest = strip_panels(
        pair, _middle(model, device, pair), 0.5, explained(model, pair, 0.5, device)
    )
    write_image(path, strip([average, result, *rest], columns=2, panel_width=320))
    print(f"wrote {path}")


def _show_clip(model: Interpolator, device: str, path: Path, width: int = 640) -> None:
    demo_clip.show(lambda a, b: _middle(model, device, (a, b)), NAME, path, width)


def _middle(model: Interpolator, device: str, pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return to_array(interpolate_many(model, to_tensor(pair[0], device), to_tensor(pair[1], device), [0.5])[0])


if __name__ == "__main__":
    sys.exit(main())
