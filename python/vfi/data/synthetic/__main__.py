"""Writes synthetic triplets or clips as images: `python -m vfi.data.synthetic --out FOLDER --count 20 --frames 9`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from vfi.data.synthetic.clips import even_times
from vfi.data.synthetic.random_motion import MIXED, MOTIONS
from vfi.data.synthetic.triplets import LAYERS, MAX_MOTION, SIZE, Triplet, random_scene, triplet
from vfi.drawing.panels import flow_panel
from vfi.errors import UserError, called, require
from vfi.files.images import to_array, write_image


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit code is 2 for a request that cannot be met."""
    parser = argparse.ArgumentParser(prog="python -m vfi.data.synthetic", description="Frames with known motion.")
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the folders 0001, 0002 ... with im1, im2 and im3.png")
    add("--count", type=int, default=10, help="how many (default: %(default)s)")
    add("--size", type=int, nargs=2, metavar=("H", "W"), default=SIZE, help="in pixels (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the first; the others follow (default: %(default)s)")
    add("--frames", type=int, help="clips of so many frames in even steps, 000.png ..., instead of triplets")
    add("--motion", choices=(*MOTIONS, MIXED), help=f"of each layer (default: uniform; with --frames {MIXED})")
    add("--max-motion", type=float, default=MAX_MOTION, help="in pixels (default: %(default)s)")
    add("--time", type=float, help="of im2, in [0, 1] (default: 0.5)")
    add("--layers", type=int, default=LAYERS, help="background and objects (default: %(default)s)")
    add("--photographs", action="store_true", help="use the photographs of scikit-image too")
    add("--flow", action="store_true", help="also flow.png, the motion from im1 to im3 of what im2 shows")
    options = parser.parse_args(arguments)
    settings = {
        "max_motion": options.max_motion,
        "layers": options.layers,
        "photographs": options.photographs,
        "motion": options.motion or ("uniform" if options.frames is None else MIXED),
    }
    try:
        require("cv2")
        if options.count < 1:
            raise UserError(f"expected --count of 1 or more, got {options.count}")
        if options.frames is not None and (options.flow or options.time is not None):
            raise UserError("--flow and --time are for triplets, not for --frames")
        for i in range(options.count):
            folder, seed, size = options.out / f"{i + 1:04d}", options.seed + i, tuple(options.size)
            if options.frames is None:
                time = 0.5 if options.time is None else options.time
                _write_triplet(folder, triplet(seed, size, time=time, **settings), options.flow)
            else:
                with called(times="frames"):
                    times = even_times(options.frames)
                scene = random_scene(seed, size, **settings)
                _write(folder, {f"{k:03d}.png": scene.frame(moment) for k, moment in enumerate(times)})
    except UserError as error:
        print(f"synthetic: {error.for_command()}", file=sys.stderr)
        return 2
    print(f"wrote {options.count} {'triplets' if options.frames is None else 'clips'} below {options.out}")
    return 0


def _write_triplet(folder: Path, made: Triplet, with_flow: bool) -> None:
    _write(folder, {f"im{i + 1}.png": frame for i, frame in enumerate(made.frames)})
    if with_flow:
        to_second = (made.flow[2:] - made.flow[:2]).permute(1, 2, 0).numpy()
        write_image(folder / "flow.png", flow_panel(to_second).rgb)


def _write(folder: Path, frames: dict[str, Tensor]) -> None:
    """Frames (3, H, W) by their names into a new folder."""
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error
    for name, frame in frames.items():
        write_image(folder / name, to_array(frame[None]))


if __name__ == "__main__":
    sys.exit(main())
