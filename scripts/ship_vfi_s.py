"""Puts the weights of a training into the package: python scripts/ship_vfi_s.py --run FOLDER

They are written as float16 to python/vfi/models/vfi_s/vfi-s.safetensors, with what the training's file says of itself,
so that `vfi train --model vfi-s --weights` of that file goes on at the step at which it was left. The log of the
training is added to benchmarks/results/vfi-s-training.jsonl, and a picture of its curves drawn from there
(docs/vfi_s_curves.png; matplotlib).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from vfi.errors import UserError
from vfi.files import checkpoints
from vfi.models.registry import MODELS
from vfi.models.vfi_s import files
from vfi.training import state

ROOT = Path(__file__).resolve().parents[1]
LOG, PICTURE = ROOT / "benchmarks/results/vfi-s-training.jsonl", ROOT / "docs/vfi_s_curves.png"
MOST = 4_000_000  # bytes


def ship(run: Path, data: str) -> str:
    """What was written, in a sentence.

    Raises:
        UserError: if there are no weights of a training of vfi-s in `run`.
    """
    source, target = run / state.WEIGHTS, MODELS["vfi-s"].ships
    assert target is not None
    network, step = files.load_network(source)
    halves = {name: value.to(torch.float16) for name, value in network.state_dict().items()}
    checkpoints.save(target, halves, {**files.notes(step), "data": data})
    size = target.stat().st_size
    if size > MOST:
        raise UserError(f"expected at most {MOST:,} bytes, got {size:,} in {target}")
    return f"wrote {target.name}: {size:,} bytes, step {step}"


def joined(logs: list[Path]) -> list[dict[str, Any]]:
    """The records of trainings that went on from each other, by step; of a step the last one."""
    records: dict[int, dict[str, Any]] = {}
    for path in logs:
        for line in path.read_text().splitlines():
            record = json.loads(line)
            records = {step: kept for step, kept in records.items() if step < record["step"]}
            records[record["step"]] = record
    return [records[step] for step in sorted(records)]


def draw(records: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 6), layout="constrained")
    for name in sorted({name for record in records for name in record if name.startswith("held_out_psnr")}):
        points = [(record["step"], record[name]) for record in records if name in record]
        above.plot(*zip(*points), marker=".", label=name.removeprefix("held_out_psnr").strip() or "all")
    points = [(record["step"], record["loss"]) for record in records if "loss" in record]
    if points:
        below.plot(*zip(*points), marker=".")
    above.set_ylabel("PSNR of what is held out, dB")
    below.set_ylabel("loss")
    below.set_xlabel("step")
    above.legend()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of the training")
    parser.add_argument(
        "--data", default="scripts/training_data.py", help="what it was trained on (default %(default)s)"
    )
    options = parser.parse_args()
    print(ship(options.run, options.data))
    records = joined([path for path in (LOG, options.run / state.LOG) if path.is_file()])
    LOG.write_text("".join(json.dumps(record) + "\n" for record in records))
    draw(records, PICTURE)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"ship_vfi_s: {error}")
