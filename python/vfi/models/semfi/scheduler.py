"""The noise schedule that SemFi is sampled with."""

from typing import Any

import numpy as np
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
        self, num_inference_steps: int | None = None, device: Any = None, sigmas: Any = None, **options: Any
    ) -> None:
        if sigmas is None and num_inference_steps is not None:
            sigmas = np.linspace(1, 0, num_inference_steps + 1)[:-1]
        super().set_timesteps(len(sigmas), device=device, sigmas=sigmas, **options)
