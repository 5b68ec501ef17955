"""Peers of trajectory_warp, trajectory_splat and sample_trajectory: the same in steps, of torch or of our own ops."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import vfi_kernels as vk
from vfi_kernels._options import Mode
from vfi_kernels.bench.peers import Peer, register
from vfi_kernels.bench.peers.splat import planes, splat_with
from vfi_kernels.bench.peers.warp import rife_warp
from vfi_kernels.ops._shared.reference_math.keys_cubic import Curve, weights


def _tau_weights(keyframes: Tensor, taus: Tensor, a: float, boundary: str, extrapolate: bool = False) -> Tensor:
    """(B, T, K)"""
    count = keyframes.shape[1] // 2
    curve = Curve(0.0, 1.0 / max(count - 1, 1), a, boundary, extrapolate)
    return weights(curve, taus, count)[..., 0, 0]


def by_einsum(keyframes: Tensor, taus: Tensor, a: float = -0.5, boundary: str = "keys", **_: object) -> Tensor:
    """The weights of all taus, times the keyframes."""
    weight = _tau_weights(keyframes, taus, a, boundary)
    return torch.einsum("btk,bkcyx->btcyx", weight, keyframes.unflatten(1, (-1, 2))).flatten(1, 2)


def torch_steps(image: Tensor, keyframes: Tensor, taus: Tensor, a: float = -0.5, boundary: str = "keys") -> Tensor:
    """einsum for all taus; then for each the flow resized with F.interpolate, scaled, and RIFE's warp."""
    return _stacked([rife_warp(image, flow) for flow in _resized(image, keyframes, taus, a, boundary)])


def torch_splat_steps(
    input: Tensor,
    keyframes: Tensor,
    taus: Tensor,
    metric: Tensor | None = None,
    mode: str = "softmax",
    a: float = -0.5,
    boundary: str = "keys",
) -> Tensor:
    """The same with a splat by scatter_add_ in place of the warp."""
    flows = _resized(input, keyframes, taus, a, boundary)
    return _stacked([splat_with(planes, input, flow, metric, mode) for flow in flows])


def _resized(image: Tensor, keyframes: Tensor, taus: Tensor, a: float, boundary: str) -> Iterator[Tensor]:
    """By einsum for all taus; each resized with F.interpolate to the image's grid, and scaled."""
    size, low = image.shape[2:], keyframes.shape[2:]
    flows = by_einsum(keyframes, taus, a, boundary).unflatten(1, (-1, 2))
    scale = flows.new_tensor([size[1] / low[1], size[0] / low[0]]).view(2, 1, 1)
    for flow in flows.unbind(1):
        yield flow if low == size else F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * scale


def our_steps(image: Tensor, keyframes: Tensor, taus: Tensor, **options: Any) -> list[Tensor]:
    """sample_trajectory for all taus, then backward_warp for each. The frames are left where they are."""
    flows = vk.sample_trajectory(keyframes.unflatten(1, (-1, 2)), taus[:, :, 0, 0], **options)
    return [vk.backward_warp(image, flow) for flow in flows.unbind(1)]


def our_splat_steps(
    input: Tensor, keyframes: Tensor, taus: Tensor, metric: Tensor | None = None, mode: Mode = "softmax", **options: Any
) -> Tensor:
    """sample_trajectory for all taus, then splat for each, and torch.stack."""
    flows = vk.sample_trajectory(keyframes.unflatten(1, (-1, 2)), taus[:, :, 0, 0], **options)
    return _stacked([vk.splat(input, flow, metric, mode=mode) for flow in flows.unbind(1)])


def _stacked(frames: list[Tensor]) -> Tensor:
    return torch.stack(frames, 1).flatten(0, 1)


def _only_shared_taus(image: Tensor, keyframes: Tensor, taus: Tensor, *metric: Tensor, **options: object) -> str | None:
    if tuple(taus.shape[2:]) != (1, 1):
        return "a tau for each pixel"
    return None if image.shape[2:] == keyframes.shape[2:] else "keyframes of another size"


def _unsuited_to_torch(
    image: Tensor, keyframes: Tensor, taus: Tensor, *metric: Tensor, **options: object
) -> str | None:
    shared = tuple(taus.shape[2:]) == (1, 1)
    return None if shared and set(options) <= {"mode", "a", "boundary"} else "a tau for each pixel, or extrapolation"


register(Peer("einsum", "sample_trajectory", by_einsum))
register(Peer("einsum, F.interpolate and RIFE's warp", "trajectory_warp", torch_steps))
register(
    Peer(
        "sample_trajectory and backward_warp",
        "trajectory_warp",
        our_steps,
        result=_stacked,
        unsuited=_only_shared_taus,
        differentiable=False,
    )
)
register(
    Peer("einsum, F.interpolate and scatter_add", "trajectory_splat", torch_splat_steps, unsuited=_unsuited_to_torch)
)
register(Peer("sample_trajectory, splat and stack", "trajectory_splat", our_splat_steps, unsuited=_only_shared_taus))
