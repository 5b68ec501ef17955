"""LPIPS of pictures, as the other measures are called."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vfi.evaluation.metrics import Measure
from vfi.files.images import to_tensor


def by_lpips(network: Callable[[Tensor, Tensor], Tensor], device: str) -> Measure:
    """network: `vfi.networks.lpips.load`, on the device."""

    @torch.no_grad()
    def measure(result: np.ndarray, truth: np.ndarray) -> float:
        return float(network(to_tensor(result, device), to_tensor(truth, device)))

    return measure
