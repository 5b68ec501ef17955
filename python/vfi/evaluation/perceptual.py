"""LPIPS and the features of FID, of pictures (H, W, 3) as they are read."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from vfi.evaluation.metrics import Measure
from vfi.evaluation.scoring import Features
from vfi.files.images import to_tensor


def by_lpips(network: Callable[[Tensor, Tensor], Tensor], device: str) -> Measure:
    """network: `vfi.networks.lpips.load`, on the device."""

    @torch.no_grad()
    def measure(result: np.ndarray, truth: np.ndarray) -> float:
        return float(network(to_tensor(result, device), to_tensor(truth, device)))

    return measure


def by_inception(network: Callable[[Tensor], Tensor], device: str) -> Features:
    """network: `vfi.evaluation.sfibench.inception.load`, on the device. Pictures of 16 bits are rounded to 8."""

    @torch.no_grad()
    def features(pictures: Sequence[np.ndarray]) -> Tensor:
        eight = [p if p.dtype == np.uint8 else (p / 257).round().astype(np.uint8) for p in pictures]
        return torch.cat([network(to_tensor(picture, device)).cpu() for picture in eight])

    return features
