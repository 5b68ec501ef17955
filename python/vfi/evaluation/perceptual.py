"""LPIPS, FloLPIPS and the features of FID and FVD, of pictures (H, W, 3) as they are read."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vfi.evaluation.metrics import Measure
from vfi.evaluation.scoring import Features, SceneMeasure
from vfi.files.images import to_tensor
from vfi.models.flow_by_name import Flow
from vfi.networks.lpips import LPIPS


def by_lpips(network: LPIPS, device: str) -> Measure:
    """network: `vfi.networks.lpips.load`, on the device."""

    @torch.no_grad()
    def measure(result: np.ndarray, truth: np.ndarray) -> float:
        return float(network(to_tensor(result, device), to_tensor(truth, device)))

    return measure


def by_flolpips(network: LPIPS, flow: Flow, device: str) -> SceneMeasure:
    """FloLPIPS of each frame between, to the frame before it and to the one after it: the mean of all.

    Where the flow of what was made differs from that of what is true, LPIPS counts more. Of a triplet it is that of the
    public code for triplets; there a frame whose flow is the true one everywhere has no value, here that of LPIPS.

    Args:
        network: as of `by_lpips`.
        flow: of RGB frames, on the device.

    Source:
        Danier et al., FloLPIPS: A Bespoke Video Quality Metric for Frame Interpolation, PCS 2022.
    """

    @torch.no_grad()
    def measure(made: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float:
        ours, theirs = ([to_tensor(picture, device) for picture in pictures] for pictures in (made, truth))
        found: list[float] = []
        for i in range(1, len(ours) - 1):
            maps = network.maps(theirs[i], ours[i])
            for other in (i - 1, i + 1):
                apart = flow(theirs[i], theirs[other]) - flow(ours[i], ours[other])
                found.append(float(sum(weighted(each, apart) for each in maps)))
        return float(np.mean(found))

    return measure


def weighted(apart: Tensor, flow: Tensor) -> Tensor:
    """The mean of a map (1, 1, h, w), by the lengths of flow (1, 2, H, W) at its places."""
    lengths = F.interpolate(flow, apart.shape[2:], mode="bilinear", align_corners=False).norm(dim=1, keepdim=True)
    total = lengths.sum()
    return (apart * lengths).sum() / total if total > 0 else apart.mean()


def by_inception(network: Callable[[Tensor], Tensor], device: str) -> Features:
    """Of each frame between. network: `vfi.evaluation.sfibench.inception.load`, on the device."""

    @torch.no_grad()
    def features(pictures: Sequence[np.ndarray]) -> Tensor:
        eight = [_eight_bits(picture) for picture in pictures[1:-1]]
        return torch.cat([network(to_tensor(picture, device)).cpu() for picture in eight])

    return features


def by_i3d(network: Callable[[Tensor], Tensor], device: str) -> Features:
    """Of a scene as a video, its ends counted. network: `vfi.evaluation.i3d.load`, on the device."""

    @torch.no_grad()
    def features(pictures: Sequence[np.ndarray]) -> Tensor:
        video = torch.from_numpy(np.stack([_eight_bits(picture) for picture in pictures])).permute(0, 3, 1, 2)
        return network(video[None].to(device)).cpu()

    return features


def _eight_bits(picture: np.ndarray) -> np.ndarray:
    return picture if picture.dtype == np.uint8 else (picture / 257).round().astype(np.uint8)
