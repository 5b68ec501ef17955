"""The papers' ablations at a cost that a CPU has: tiny networks of each variant, trained on made-up scenes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from vfi.models.registry import load_objective
from vfi.training import Job, train


@dataclass(frozen=True)
class Ablation:
    """A row of a paper's table. options: of the model's training, by stages; what a stage does not name is usual."""

    paper: str
    table: str
    row: str
    model: str
    stages: int
    options: Mapping[str, object] = field(default_factory=dict)
    first: int = 1  # the stage from which on the options are given


APR = "apr-vfi"
SHARES = ((0.2, 0.5, 0.7, 1.0), (0.1, 0.4, 0.6, 0.9), (0.2, 0.4, 0.6, 0.8), (0.5, 0.5, 0.5, 0.5), (0.9, 0.6, 0.4, 0.1))
SUPERVISIONS = {"warped difference": "warped", "image difference": "image", "reconstruction loss": "reconstruction"}
FUSIONS = {"add&norm": "add", "concat&conv": "concat", "no fusion": "none"}
ABLATIONS = (
    *(Ablation(APR, "2", f"patch {patch}", APR, 2, {"patch": patch}, first=2) for patch in (8, 16, 32)),
    *(Ablation(APR, "3", f"keep {' '.join(map(str, each))}", APR, 3, {"keep": each}, first=3) for each in SHARES),
    *(Ablation(APR, "4", row, APR, 3, {"supervision": each}, first=3) for row, each in SUPERVISIONS.items()),
    *(Ablation(APR, "5", row, APR, 1, {"fusion": each}) for row, each in FUSIONS.items()),
    Ablation("rdvfi", "3", "Direct Warping", "rdvfi-d", 2, {"direct": True}),
    Ablation("rdvfi", "3", "L loss", "rdvfi-d", 2, {"losses": "latent"}, first=2),
    Ablation("rdvfi", "3", "L+P-L2 loss", "rdvfi-d", 2, {"losses": "l2"}, first=2),
    Ablation("rdvfi", "3", "RDVFI-D (Full)", "rdvfi-d", 2),
    Ablation("semfi", "3", "w/o Multi-frame", "semfi", 1, {"frames": 65}),
    Ablation("semfi", "3", "w/o MoL", "semfi", 1, {"experts": False}),
    Ablation("semfi", "3", "Full Model", "semfi", 1),
)


def trained(ablation: Ablation, steps: int, work: Path) -> str:
    """What the last line of the log of its last stage says: PSNR of held-out scenes, or the loss.

    A stage that several variants share is trained once.
    """
    weights, record = None, dict[str, float]()
    for stage in range(1, ablation.stages + 1):
        options = dict(ablation.options) if stage >= ablation.first else {}
        name = "-".join(f"{key} {value}" for key, value in options.items()) or "usual"
        folder = work / ablation.model / f"{stage}-{re.sub('[^a-z0-9.-]+', '_', name)}-{steps}"
        log = folder / "log.jsonl"
        if not (folder / "weights.safetensors").is_file():
            learn(ablation.model, stage, weights, steps, folder, options)
        weights = str(folder / "weights.safetensors")
        record = json.loads(log.read_text().splitlines()[-1])
    kind = "held_out_psnr" if "held_out_psnr" in record else "loss"
    return f"{record[kind]:.2f} dB" if kind == "held_out_psnr" else f"loss {record[kind]:.4f}"


def learn(model: str, stage: int, weights: str | None, steps: int, folder: Path, options: Mapping[str, object]) -> None:
    torch.manual_seed(0)
    objective = load_objective(model, weights, tiny=weights is None or model != APR, **options)
    data = {"semfi": "synthetic:6"}.get(model, "synthetic:40")
    batch = {"semfi": 1}.get(model, 2)
    train(objective, Job(model, stage, data, folder, steps=steps, batch=batch, crop=64, learning_rate=1e-3, quiet=True,
                         overwrite=True))  # fmt: skip
