"""Optical flow by name, for measuring how much moves."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from vfi.errors import ArgumentError, UserError
from vfi.models import ebme
from vfi.networks.optical_flow import DisConfig, optical_flow

FlowName = Literal["dis", "ebme"]
FLOWS = get_args(FlowName)
Flow = Callable[[Tensor, Tensor], Tensor]


def load_flow(name: FlowName = "dis", weights: str | None = None, device: str = "cpu") -> Flow:
    """What gives, for RGB frames (B, 3, H, W) in [0, 1], the flow from the first to the second, (B, 2, H, W) in pixels.

    Args:
        name: "dis" (OpenCV's, on the CPU), or "ebme", the flow network of EBME.
        weights: for "ebme" bi-flownet.pkl.

    Raises:
        UserError: if there is no such flow, or its weights are missing or cannot be read.
    """
    if name not in FLOWS:
        raise UserError(f"expected a flow model of {' or '.join(FLOWS)}, got {name!r}")
    if name == "dis":
        if weights is not None:
            raise ArgumentError("`weights` are not for the flow model dis")
        return lambda first, second: optical_flow(first, second, DisConfig())
    if weights is None:
        raise ArgumentError("the flow model ebme needs `weights`, bi-flownet.pkl of EBME; nothing is downloaded")
    network = ebme.load(weights).to(device)

    @torch.no_grad()
    def by_ebme(first: Tensor, second: Tensor) -> Tensor:
        result: Tensor = network(first.to(device).flip(1), second.to(device).flip(1))[:, :2]  # its weights take BGR
        return result

    return by_ebme
