"""SemFi as an `Interpolator`: frames at times, out of one generation for each pair."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor

from vfi.errors import ArgumentError
from vfi.models.diffusers_loading import Source, load_pipeline, placed
from vfi.models.interpolator import Interpolator
from vfi.models.semfi.loading import BACKBONE, from_backbone, load
from vfi.models.semfi.options import SemFiOptions, SemFiTraining
from vfi.models.semfi.pipeline import STEP, SemFi, rounded
from vfi.networks.sized_inference import check_frames, several_times, time_of
from vfi.options import whole
from vfi.training.job import torch_dtype

if TYPE_CHECKING:
    from vfi.training.objective import Objective

MOST = 81  # frames at once, as SemFi was trained
SETTINGS = ("seed", "prompt", "negative_prompt", "steps", "cfg", "size")  # options that `SemFi.generate` takes


class PromptedSemFi(Interpolator):
    """SemFi with a text, its settings, and the same noise for each pair.

    Args:
        settings: see `SemFi.generate`.
    """

    works_in_tiles = False

    def __init__(self, pipeline: SemFi, **settings: Any) -> None:
        self.pipeline, self.settings = pipeline, settings

    @classmethod
    def load(cls, weights: str | Path | None, device: str, options: SemFiOptions) -> "PromptedSemFi":
        """weights: the folder of a whole SemFi; or, with `backbone`, a file of adapters, such as semfi.ckpt; None of
        Wan alone."""
        source = Source("semfi", "SemFi", "adapters", "SemFi's adapters", BACKBONE, load, from_backbone)
        if weights is not None:
            pipeline = load_pipeline(source, str(weights), device, options)
        elif options.backbone is not None:
            pipeline = from_backbone(options.backbone, None, torch_dtype(options.dtype, "dtype"))
        else:
            raise ArgumentError(f"the model semfi without `adapters` needs `backbone`, the folder of {BACKBONE}")
        if not options.adapters:
            pipeline.transformer.reset_adapters()
        placed(pipeline, device, options)
        pipeline.set_progress_bar_config(desc="denoising", leave=False)
        return cls(pipeline, **{name: vars(options)[name] for name in SETTINGS})

    @classmethod
    def objective(cls, weights: str | Path | None, tiny: bool, options: SemFiTraining) -> "Objective":
        from vfi.models.semfi.training import objective

        return objective(weights, tiny, **vars(options))

    def interpolate(self, frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        return self.interpolate_many(frame0, frame1, [time_of(t)])[0]

    def interpolate_many(self, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[Tensor]:
        """Of as few frames as have one at each time, the nearest; resized to the two given."""
        check_frames(frame0, frame1)
        times = several_times(times)
        if all(time in (0, 1) for time in times):
            return [(frame1 if time else frame0).clone() for time in times]
        count = frames_with(times)
        made = self.pipeline.generate(frame0, frame1, num_frames=count, **self.settings).to(frame0.device)
        size, results = frame0.shape[2:], []
        for time in times:
            if time in (0, 1):
                results.append((frame1 if time else frame0).clone())
                continue
            nearest = made[round(time * (count - 1))][None]
            if nearest.shape[2:] != size:
                nearest = F.interpolate(nearest, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
            results.append(nearest.to(frame0.dtype))
        return results

    def generate(self, first: Tensor, last: Tensor, prompt: str, num_frames: int) -> Tensor:
        return self.pipeline.generate(first, last, num_frames=num_frames, **{**self.settings, "prompt": prompt})

    def whole_frames(self, count: int) -> int:
        return rounded(whole("count", count, 2))


def frames_with(times: Sequence[float]) -> int:
    """The fewest frames, 4 k + 1, of which one is at each time; 81 if that takes more."""
    for count in range(STEP + 1, MOST + 1, STEP):
        if all(abs(time * (count - 1) - round(time * (count - 1))) < 1e-3 for time in times):
            return count
    return MOST
