"""Writes synthetic triplets as images: `python -m vfi_models.synthetic --out FOLDER --count 20`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vfi_models.errors import UserError, require
from vfi_models.images import to_array, write_image
from vfi_models.pictures import flow_panel
from vfi_models.synthetic.triplets import LAYERS, MAX_MOTION, SIZE, Triplet, triplet


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit code is 2 for a request that cannot be met."""
    parser = argparse.ArgumentParser(prog="python -m vfi_models.synthetic", description="Triplets with known motion.")
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the folders 0001, 0002 ... with im1, im2 and im3.png")
    add("--count", type=int, default=10, help="how many (default: %(default)s)")
    add("--size", type=int, nargs=2, metavar=("H", "W"), default=SIZE, help="in pixels (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the first triplet; the others follow (default: %(default)s)")
    add("--max-motion", type=float, default=MAX_MOTION, help="from im1 to im3, in pixels (default: %(default)s)")
    add("--time", type=float, default=0.5, help="of im2, in [0, 1] (default: %(default)s)")
    add("--layers", type=int, default=LAYERS, help="background and objects (default: %(default)s)")
    add("--photographs", action="store_true", help="use the photographs of scikit-image too")
    add("--flow", action="store_true", help="also flow.png, the motion from im1 to im3 of what im2 shows")
    options = parser.parse_args(arguments)
    try:
        require("cv2")
        if options.count < 1:
            raise UserError(f"expected --count of 1 or more, got {options.count}")
        for i in range(options.count):
            made = triplet(
                options.seed + i,
                tuple(options.size),
                max_motion=options.max_motion,
                time=options.time,
                layers=options.layers,
                photographs=options.photographs,
            )
            _write(made, options.out / f"{i + 1:04d}", options.flow)
    except UserError as error:
        print(f"synthetic: {error}", file=sys.stderr)
        return 2
    print(f"wrote {options.count} triplets below {options.out}")
    return 0


def _write(made: Triplet, folder: Path, with_flow: bool) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error
    for i, frame in enumerate(made.frames):
        write_image(folder / f"im{i + 1}.png", to_array(frame[None]))
    if with_flow:
        to_second = (made.flow[2:] - made.flow[:2]).permute(1, 2, 0).numpy()
        write_image(folder / "flow.png", flow_panel(to_second).rgb)


if __name__ == "__main__":
    sys.exit(main())
