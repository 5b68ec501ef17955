"""The noise schedule that SemFi is sampled with."""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,  # noqa: F401  (by which diffusers knows what it loads from this module)
)


class ShiftedEuler(FlowMatchEulerDiscreteScheduler):
    """Euler's method along sigmas shift s / (1 + (shift - 1) s), s = 1, (n - 1) / n ... 1 / n, as published.

    diffusers' own grid ends higher up: with a shift of 5 and four steps 1, 0.910, 0.717, 0.024 instead of 1, 0.938,
    0.833, 0.625.
    """

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: Sequence[float] | np.ndarray | None = None,
        **options: object,
    ) -> None:
        if sigmas is None and num_inference_steps is not None:
            sigmas = np.linspace(1, 0, num_inference_steps + 1)[:-1]
        count = num_inference_steps if sigmas is None else len(sigmas)
        super().set_timesteps(count, device=device, sigmas=sigmas, **options)
