"""Where models run."""

import torch

from vfi.errors import ArgumentError


def choose_device(name: str | torch.device | None) -> str:
    """`name` if it can be used; without a name, CUDA where there is one, else the CPU."""
    if not isinstance(name, (str, torch.device, type(None))):
        raise ArgumentError(f"expected `device` to be text such as cpu or cuda:0, got {name!r}")
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]  # what follows is advice for who builds torch
        raise ArgumentError(f"the `device` {str(name)!r} cannot be used: {reason}") from error
    return str(name)
