"""Whether torch.autocast is on for a tensor. Some devices have none, the meta device among them."""

import contextlib

import torch
from torch import Tensor


def _has_autocast(device: str) -> bool:
    return torch.amp.is_autocast_available(device)


# As torch.compiler.assume_constant_result, without its import of the whole compiler: torch 2.11 cannot look inside.
_has_autocast._dynamo_marked_constant = True  # type: ignore[attr-defined]


def enabled(x: Tensor) -> bool:
    """Inside torch.autocast for the device of `x`."""
    return _has_autocast(x.device.type) and torch.is_autocast_enabled(x.device.type)


def disabled(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Without torch.autocast for the device of `x`, for a block."""
    if not _has_autocast(x.device.type):
        return contextlib.nullcontext()
    return torch.autocast(x.device.type, enabled=False)
