"""Whether torch.autocast is on for a tensor. Some devices have none, the meta device among them."""

import contextlib

import torch
from torch import Tensor


def _has_autocast(x: Tensor) -> bool:
    return torch.amp.is_autocast_available(x.device.type)


def enabled(x: Tensor) -> bool:
    """Inside torch.autocast for the device of `x`."""
    return _has_autocast(x) and torch.is_autocast_enabled(x.device.type)


def disabled(x: Tensor) -> contextlib.AbstractContextManager:
    """Without torch.autocast for the device of `x`, for a block."""
    if not _has_autocast(x):
        return contextlib.nullcontext()
    return torch.autocast(x.device.type, enabled=False)
