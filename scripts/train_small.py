"""A small APR-VFI, trained on a CPU in minutes: python scripts/train_small.py --flow bi-flownet.pkl --out DIR

The three stages of training on made-up scenes, from the public weights of EBME's flow network. The synthesis is the
tiny one: few channels, patches of 16. Prints the table of docs/training.md: PSNR on scenes that are not trained on;
the first row is the mean of the two splatted frames.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from vfi.errors import UserError
from vfi.models.apr_vfi.training import objective
from vfi.training import Job, train

STEPS = {1: 250, 2: 80, 3: 150}
NAMES = {1: "stage 1: whole pictures", 2: "stage 2: patches", 3: "stage 3: routed"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flow", required=True, help="bi-flownet.pkl of EBME")
    parser.add_argument("--out", required=True, type=Path, help="folder of the stages' results")
    options = parser.parse_args()
    torch.manual_seed(0)
    trained = objective(None, tiny=True, flow=options.flow)
    rows, start = [], time.monotonic()
    for stage, steps in STEPS.items():
        folder = options.out / str(stage)
        train(trained, Job(
            "apr-vfi", stage, data="synthetic:400", output=folder, steps=steps, batch=8, crop=96, learning_rate=5e-4
        ))  # fmt: skip
        log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        if stage == 1:
            rows.append(("mean of the splatted frames", log[0]["held_out_psnr"]))
        rows.append((NAMES[stage], log[-1]["held_out_psnr"]))
    minutes = (time.monotonic() - start) / 60
    print(f"\n| {torch.get_num_threads()} threads, {minutes:.0f} minutes | PSNR, dB | gain |\n|---|---|---|")
    for name, quality in rows:
        print(f"| {name} | {quality:.2f} | {quality - rows[0][1]:+.2f} |")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"train_small: {error}")
