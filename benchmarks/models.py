"""Quality and speed of the interpolation models on data sets, where those are at hand."""

import os
from pathlib import Path
from typing import Any

import torch

from vfi.evaluation import scoring
from vfi.models import registry

SHARED = Path(os.environ.get("VFI_KERNELS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
MIDDLEBURY = SHARED / "data" / "middlebury"


def middlebury(model: str, threads: int) -> dict[str, Any] | None:
    """Scores of every scene, timed in a second pass, when everything is warm; None without the data."""
    if not MIDDLEBURY.is_dir():
        return None
    torch.set_num_threads(threads)
    network = registry.load_model(model)
    for _ in range(2):
        scores = list(scoring.evaluate(network, "middlebury", MIDDLEBURY, "cpu"))
    scenes = [
        {"scene": s.name, "psnr": s.values["psnr"], "ssim": s.values["ssim_gaussian"], "seconds": s.seconds}
        for s in scores
    ]
    return {
        "dataset": "middlebury",
        "threads": threads,
        "scenes": scenes,
        "mean_psnr": sum(scene["psnr"] for scene in scenes) / len(scenes),
        "slowest_s": max(scene["seconds"] for scene in scenes),  # the largest scenes have 640x480 pixels
    }
