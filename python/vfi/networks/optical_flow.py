"""Dense optical flow by inverse search (DIS), from OpenCV, on the CPU."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from vfi.errors import ArgumentError
from vfi.files.opencv import opencv

# OpenCV's coarsest scale needs a few patches along each side.
_SMALLEST_SIDE = 64
Plane = Literal["luma", "chroma"]


@dataclass(frozen=True)
class DisConfig:
    """Settings of one DIS run; OpenCV's names in snake case.

    Attributes:
        plane: the picture that is matched: "luma", or "chroma" (red minus blue), which finds things that stand out
            by colour only.
        finest_scale: how often the picture is halved before it is matched; the flow comes out at its full size.
        full_size_refinement_iterations: of the variational refinement alone, on the whole picture, after all. It takes
            a fifth of the time of matching there.
    """

    plane: Plane = "luma"
    finest_scale: int = 0
    patch_size: int = 8
    patch_stride: int = 4
    gradient_descent_iterations: int = 25
    variational_refinement_iterations: int = 5
    full_size_refinement_iterations: int = 0
    # Off: patches compare with their brightness, which small fast objects need to be found at coarse scales.
    use_mean_normalization: bool = False

    def __post_init__(self) -> None:
        if self.plane not in get_args(Plane):
            raise ArgumentError(f"DisConfig: expected plane luma or chroma, got {self.plane!r}")


class Planes:
    """The pictures (H, W) uint8 of RGB frames (B, 3, H, W) in [0, 1] that DIS matches, of each sample."""

    def __init__(self, frames: Tensor) -> None:
        red, green, blue = frames.detach().float().nan_to_num(0.0).clamp(0, 1).unbind(1)
        self.luma = _bytes(0.299 * red + 0.587 * green + 0.114 * blue)
        self.chroma = _bytes((red - blue).div_(2).add_(0.5))

    def matched(self, config: DisConfig) -> list[np.ndarray]:
        return self.luma if config.plane == "luma" else self.chroma


def optical_flow(first: Tensor, second: Tensor, config: DisConfig) -> Tensor:
    """Flow of every pixel of frames (B, 3, H, W), RGB in [0, 1], to others: float32 (B, 2, H, W) in pixels, there."""
    return flows([(Planes(first), Planes(second), config)])[0].to(first.device)


def flows(runs: Sequence[tuple[Planes, Planes, DisConfig]]) -> list[Tensor]:
    """Of each run the flow from the first to the second, float32 (B, 2, H, W) in pixels, on the CPU.

    They are found beside each other, on as many threads as torch has.
    """
    batches = [list(zip(a.matched(config), b.matched(config), strict=True)) for a, b, config in runs]
    jobs = [(config, *pair) for (_, _, config), batch in zip(runs, batches) for pair in batch]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        found = iter(list(pool.map(_dis, *zip(*jobs))))
    return [torch.stack([_tensor(next(found)) for _ in batch]) for batch in batches]


def _bytes(values: Tensor) -> list[np.ndarray]:
    return list((values * 255).round_().to(torch.uint8).cpu().numpy())


def _dis(config: DisConfig, image0: np.ndarray, image1: np.ndarray) -> np.ndarray:
    """The flow (H, W, 2) from image0 to image1, of any size: small ones are continued by their last row and column."""
    cv2 = opencv()
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(config.finest_scale)
    dis.setPatchSize(config.patch_size)
    dis.setPatchStride(config.patch_stride)
    dis.setGradientDescentIterations(config.gradient_descent_iterations)
    dis.setVariationalRefinementIterations(config.variational_refinement_iterations)
    dis.setUseMeanNormalization(config.use_mean_normalization)
    height, width = image0.shape
    pad = ((0, max(0, _SMALLEST_SIDE - height)), (0, max(0, _SMALLEST_SIDE - width)))
    padded0, padded1 = (np.ascontiguousarray(np.pad(image, pad, mode="edge")) for image in (image0, image1))
    flow: np.ndarray = dis.calc(padded0, padded1, None)
    if config.full_size_refinement_iterations:
        refinement = cv2.VariationalRefinement_create()
        refinement.setFixedPointIterations(config.full_size_refinement_iterations)
        flow = refinement.calc(padded0, padded1, flow)
    return flow[:height, :width]


def _tensor(flow: np.ndarray) -> Tensor:
    return torch.from_numpy(flow).permute(2, 0, 1)
