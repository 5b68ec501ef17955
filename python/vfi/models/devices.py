"""Where models run."""

import torch

from vfi.errors import UserError


def choose_device(name: str | None) -> str:
    """`name` if it can be used; without a name, CUDA where there is one, else the CPU."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UserError(f"the device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return name
