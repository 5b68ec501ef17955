"""RDVFI as the command's models are: the same noise for every pair, so that one video has one look."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vfi.errors import UserError
from vfi.models.rdvfi.explanation import Explanation
from vfi.models.rdvfi.files import BACKBONES, from_backbone, load
from vfi.models.rdvfi.model import RDVFI
from vfi.networks.diffusers_folders import INDEX, is_whole, quieted
from vfi.training.job import PRECISIONS


class Seeded:
    """RDVFI whose noise is drawn anew from `seed` for each pair."""

    channel_order = "rgb"

    def __init__(self, pipeline: RDVFI, seed: int) -> None:
        self.pipeline, self.seed = pipeline, seed

    def interpolate(self, frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        return self.interpolate_many(frame0, frame1, [t])[0]

    def interpolate_many(self, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[Tensor]:
        found: list[Tensor] = self.pipeline.interpolate(frame0, frame1, times, self._generator())
        return found

    def explain(self, frame0: Tensor, frame1: Tensor, t: float) -> Explanation:
        return self.pipeline.explain(frame0, frame1, t, self._generator())

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def load_for_command(
    weights: str,
    variant: str,
    device: str,
    backbone: str | None = None,
    dtype: str | None = None,
    offload: bool = False,
    warp: str | None = None,
    seed: int = 0,
) -> Seeded:
    """For `vfi --model rdvfi-d` and `rdvfi-u`.

    Args:
        weights: the folder of a whole RDVFI; or, with `backbone`, a file of RDVFI's own weights.
        device: where it runs.
        backbone: the folder of the backbone's published files.
        dtype: "float32", "bfloat16" or "float16".
        offload: each part of the diffusion is on `device` only while it works.
        warp: "forward" or "backward".
        seed: of the noise.
    """
    settings: dict[str, Any] = {} if warp is None else {"warp": warp}
    if dtype is not None and dtype not in PRECISIONS:
        raise UserError(f"expected --dtype {', '.join(PRECISIONS)}, got {dtype}")
    kind = PRECISIONS[dtype or "float32"]
    quieted()
    if is_whole(weights, backbone, "RDVFI", "weights"):
        pipeline = load(weights, kind)
        pipeline.register_to_config(**settings)
    else:
        if backbone is None:
            raise UserError(
                f"the model rdvfi-{variant} needs --backbone, the folder of {BACKBONES[variant]}, beside a file of "
                f"weights; or give a folder with {INDEX} as --weights"
            )
        pipeline = from_backbone(variant, backbone, weights, kind, **settings)
    if pipeline.variant != variant:
        raise UserError(f"{weights} holds rdvfi-{pipeline.variant}, not rdvfi-{variant}")
    if not offload:
        pipeline.to(device)
    elif device == "cpu":
        raise UserError("--offload is for a GPU, to keep parts of the model on the CPU meanwhile; the device is cpu")
    else:
        pipeline.enable_model_cpu_offload(device=device)
    return Seeded(pipeline, seed)
