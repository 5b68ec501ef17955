"""Scores frames that `vfi evaluate --write-frames FOLDER` has written, by VBench or pyiqa, for `vfi evaluate --scores`.

    python scripts/outside_scores.py vbench FOLDER -o scores.json --manifest clips.jsonl
    python scripts/outside_scores.py pyiqa FOLDER -o musiq.json

Runs in an environment of its own, which has torch and that tool (`pip install vbench==0.1.5`, which asks for
transformers 4.33.2 and numpy 1, or `pip install pyiqa`), and needs nothing of this tree. The tools fetch their weights.
pyiqa's licence is for uses that are not commercial.
"""

import argparse
import hashlib
import json
import math
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

MADE_WITH = "made_with.json"
# What VBench calls a measure, and what a score is divided by.
DIMENSIONS = {
    "semantic": ("overall_consistency", 1),
    "flickering": ("temporal_flickering", 1),
    "smoothness": ("motion_smoothness", 1),
    "dynamic": ("dynamic_degree", 1),
    "aesthetic": ("aesthetic_quality", 1),
    "imaging": ("imaging_quality", 100),
}
LONGEST = 512  # pixels of the longer side, which MUSIQ sees in VBench


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tool", choices=("vbench", "pyiqa"), help="pyiqa has imaging alone: musiq-spaq, as VBench")
    parser.add_argument("folder", type=Path, help="of the frames")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="written here, as JSON")
    parser.add_argument("--measures", nargs="+", choices=DIMENSIONS, metavar="NAME", help=f"of {', '.join(DIMENSIONS)}")
    parser.add_argument("--manifest", type=Path, metavar="FILE", help="the clips' captions, which semantic needs")
    parser.add_argument("--device", default="cuda", help="of torch, where networks run (default: cuda)")
    options = parser.parse_args()
    made_with = json.loads((options.folder / MADE_WITH).read_text(encoding="utf-8"))
    files = sorted(path for path in options.folder.rglob("*") if path.suffix in (".mp4", ".png"))
    if not files:
        sys.exit(f"expected frames of `vfi evaluate --write-frames` in {options.folder}, got none")
    if options.tool == "pyiqa":
        if set(options.measures or ["imaging"]) != {"imaging"}:
            sys.exit("pyiqa measures imaging alone")
        found = {"imaging": dict(by_pyiqa(files, options.device))}
    else:
        captions = captions_of(files, options.manifest) if options.manifest else None
        names = options.measures or [name for name in DIMENSIONS if captions is not None or name != "semantic"]
        if "semantic" in names and captions is None:
            sys.exit("semantic needs --manifest, the captions of the clips")
        found = by_vbench(options.folder, files, names, captions, options.device)
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    rows = [
        {"measure": name, "file": path.relative_to(options.folder).as_posix(), "sha256": digests[path], "value": value}
        for name, values in found.items()
        for path, value in values.items()
    ]
    versions = {"python": platform.python_version(), **{name: version(name) for name in ("torch", options.tool)}}
    document = {"tool": options.tool, "versions": versions, "made_with": made_with, "rows": rows}
    temporary = options.output.with_name(options.output.name + ".part")
    temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, options.output)
    for name, values in found.items():
        print(f"{name}: {math.fsum(values.values()) / len(values):.4f}, the mean of {len(values)} files")


def captions_of(files: list[Path], manifest: Path) -> dict[Path, str]:
    """Names of files begin with the number of the clip."""
    clips = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    return {path: clips[int(path.name[:5])]["caption"] for path in files}


def by_vbench(
    folder: Path, files: list[Path], names: list[str], captions: dict[Path, str] | None, device: str
) -> dict[str, dict[Path, float]]:
    """It looks into one folder, not below it."""
    import torch
    from vbench import VBench

    found: dict[str, dict[Path, float]] = {name: {} for name in names}
    for place in sorted({path.parent for path in files}):
        here = {path.name: path for path in files if path.parent == place}
        prompts = {} if captions is None else {name: captions[path] for name, path in here.items()}
        with tempfile.TemporaryDirectory() as output:
            dimensions = [DIMENSIONS[name][0] for name in names]
            bench = VBench(torch.device(device), None, output)
            bench.evaluate(str(place), "scores", prompts, dimensions, mode="custom_input")
            results = json.loads((Path(output) / "scores_eval_results.json").read_text())
        for name in names:
            dimension, unit = DIMENSIONS[name]
            for row in results[dimension][1]:
                found[name][here[Path(row["video_path"]).name]] = float(row["video_results"]) / unit
    return found


def by_pyiqa(files: list[Path], device: str) -> Iterator[tuple[Path, float]]:
    """The mean over the frames of a file, as VBench shows them to MUSIQ."""
    import pyiqa
    import torch
    import torch.nn.functional as F

    network = pyiqa.create_metric("musiq-spaq", device=torch.device(device))
    for path in files:
        scores = []
        for frame in frames_of(path):
            picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
            longer = max(picture.shape[2:])
            if longer > LONGEST:
                size = [int(LONGEST / longer * side) for side in picture.shape[2:]]
                picture = F.interpolate(picture, size, mode="bilinear", align_corners=False)
            with torch.no_grad():
                scores.append(float(network(picture.to(device) / 255)))
        yield path, math.fsum(scores) / len(scores) / 100


def frames_of(path: Path) -> Iterator[np.ndarray]:
    """RGB, (H, W, 3) uint8."""
    import cv2

    if path.suffix == ".png":
        yield cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        return
    video = cv2.VideoCapture(str(path))
    while (read := video.read())[0]:
        yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
    video.release()


if __name__ == "__main__":
    main()
