"""SemFi as the command's models are: frames at times, out of one generation for each pair."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi.errors import UserError
from vfi.models.semfi.loading import BACKBONE, from_backbone, load
from vfi.models.semfi.pipeline import MULTIPLE, STEP, SemFi, rounded
from vfi.networks.diffusers_folders import INDEX, is_whole, quieted
from vfi.training.job import PRECISIONS

MOST = 81  # frames at once, as SemFi was trained


class Prompted:
    """SemFi with a text, its settings, and the same noise for each pair."""

    channel_order = "rgb"

    def __init__(self, pipeline: SemFi, **settings: Any) -> None:
        self.pipeline, self.settings = pipeline, settings

    def interpolate(self, frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        return self.interpolate_many(frame0, frame1, [t])[0]

    def interpolate_many(self, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[Tensor]:
        """Of as few frames as have one at each time, the nearest; resized to the two given."""
        if all(time in (0, 1) for time in times):
            return [(frame1 if time else frame0).clone() for time in times]
        count = frames_with(times)
        made = self.pipeline.generate(frame0, frame1, num_frames=count, **self.settings).to(frame0.device)
        size, results = frame0.shape[2:], []
        for time in times:
            found = made[round(time * (count - 1))][None]
            if found.shape[2:] != size:
                found = F.interpolate(found, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
            results.append((frame1 if time == 1 else frame0).clone() if time in (0, 1) else found.to(frame0.dtype))
        return results

    def generate(self, first: Tensor, last: Tensor, prompt: str, num_frames: int) -> Tensor:
        """Frames (N, 3, h, w), with the text given here."""
        return self.pipeline.generate(first, last, num_frames=num_frames, **{**self.settings, "prompt": prompt})

    def whole_frames(self, count: int) -> int:
        """The number of frames that is made when `count` are wanted."""
        return rounded(count)


def frames_with(times: Sequence[float]) -> int:
    """The fewest frames, 4 k + 1, of which one is at each time; 81 if that takes more."""
    for count in range(STEP + 1, MOST + 1, STEP):
        if all(abs(time * (count - 1) - round(time * (count - 1))) < 1e-3 for time in times):
            return count
    return MOST


def load_for_command(
    weights: str,
    device: str,
    backbone: str | None = None,
    dtype: str | None = None,
    offload: bool = False,
    seed: int = 0,
    prompt: str = "",
    negative_prompt: str = "",
    steps: int = 50,
    cfg: float = 5.0,
    size: Sequence[int] | None = None,
) -> Prompted:
    """For `vfi --model semfi`.

    Args:
        weights: the folder of a whole SemFi; or, with `backbone`, a file of adapters, such as semfi.ckpt.
        device: where it runs.
        backbone: the folder of Wan's published files, or diffusers'.
        dtype: "float32", "bfloat16" or "float16".
        offload: each part is on `device` only while it works.
        seed, prompt, negative_prompt, steps, cfg, size: see `SemFi.generate`.
    """
    if dtype is not None and dtype not in PRECISIONS:
        raise UserError(f"expected --dtype {', '.join(PRECISIONS)}, got {dtype}")
    if steps < 1:
        raise UserError(f"expected --steps of 1 or more, got {steps}")
    if not 1 <= cfg < math.inf:
        raise UserError(f"expected --cfg of 1 or more, got {cfg:g}")
    if size is not None and (min(size) < MULTIPLE or any(side % MULTIPLE for side in size)):
        raise UserError(f"expected --size of multiples of {MULTIPLE}, got {size[0]} {size[1]}")
    quieted()
    kind = PRECISIONS[dtype or "float32"]
    if is_whole(weights, backbone, "SemFi", "adapters"):
        pipeline = load(weights, kind)
    else:
        if backbone is None:
            raise UserError(
                f"the model semfi needs --backbone, the folder of {BACKBONE}, beside a file of adapters; or give a "
                f"folder with {INDEX} as --weights"
            )
        pipeline = from_backbone(backbone, weights, kind)
    if not offload:
        pipeline.to(device)
    elif torch.device(device).type == "cpu":
        raise UserError("--offload is for a GPU, to keep parts of the model on the CPU meanwhile; the device is cpu")
    else:
        pipeline.enable_model_cpu_offload(device=device)
    pipeline.set_progress_bar_config(desc="denoising", leave=False)
    settings = {"seed": seed, "prompt": prompt, "negative_prompt": negative_prompt, "steps": steps, "cfg": cfg}
    return Prompted(pipeline, **settings, size=size and tuple(size))
