"""Dense optical flow by inverse search (DIS), from OpenCV, on the CPU."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vfi.errors import ArgumentError
from vfi.files.opencv import opencv

# OpenCV's coarsest scale needs a few patches along each side.
_SMALLEST_SIDE = 64
Plane = Literal["luma", "chroma"]
Estimator = Callable[[np.ndarray, np.ndarray, None], np.ndarray]  # of the flow between two pictures (H, W) uint8


@dataclass(frozen=True)
class DisConfig:
    """Settings of one DIS run; OpenCV's names in snake case.

    `plane` is the picture that is matched: "luma", or "chroma" (red minus blue), which finds things that stand out
    by colour only.
    """

    plane: Plane = "luma"
    finest_scale: int = 0
    patch_size: int = 8
    patch_stride: int = 4
    gradient_descent_iterations: int = 25
    variational_refinement_iterations: int = 5
    # Off: patches compare with their brightness, which small fast objects need to be found at coarse scales.
    use_mean_normalization: bool = False


def flow_both_ways(frame0: Tensor, frame1: Tensor, config: DisConfig) -> tuple[Tensor, Tensor]:
    """Flow of every pixel of frame 0 to frame 1, and back.

    Args:
        frame0, frame1: (B, 3, H, W), RGB in [0, 1].

    Returns:
        Two float32 (B, 2, H, W) tensors in pixels, on the frames' device.
    """
    estimator = _estimator(config)
    forward, back = [], []
    for image0, image1 in zip(_planes(frame0, config.plane), _planes(frame1, config.plane), strict=True):
        forward.append(_calc(estimator, image0, image1))
        back.append(_calc(estimator, image1, image0))
    return _tensor(forward, frame0.device), _tensor(back, frame0.device)


def _estimator(config: DisConfig) -> Estimator:
    cv2 = opencv()
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(config.finest_scale)
    dis.setPatchSize(config.patch_size)
    dis.setPatchStride(config.patch_stride)
    dis.setGradientDescentIterations(config.gradient_descent_iterations)
    dis.setVariationalRefinementIterations(config.variational_refinement_iterations)
    dis.setUseMeanNormalization(config.use_mean_normalization)
    estimate: Estimator = dis.calc
    return estimate


def _planes(frames: Tensor, plane: Plane) -> list[np.ndarray]:
    """The uint8 picture to match, per sample: (H, W) each."""
    red, green, blue = frames.detach().float().nan_to_num(0.0).clamp(0, 1).unbind(1)
    if plane == "luma":
        value = 0.299 * red + 0.587 * green + 0.114 * blue
    elif plane == "chroma":
        value = 0.5 + (red - blue) / 2
    else:
        raise ArgumentError(f"flow_both_ways: expected plane luma or chroma, got {plane}")
    return list((value * 255).round().to(torch.uint8).cpu().numpy())


def _calc(estimator: Estimator, image0: np.ndarray, image1: np.ndarray) -> np.ndarray:
    """DIS from image0 to image1, of any size: small pictures are continued by their last row and column."""
    height, width = image0.shape
    pad = ((0, max(0, _SMALLEST_SIDE - height)), (0, max(0, _SMALLEST_SIDE - width)))
    padded0, padded1 = (np.ascontiguousarray(np.pad(image, pad, mode="edge")) for image in (image0, image1))
    return estimator(padded0, padded1, None)[:height, :width]


def _tensor(flows: list[np.ndarray], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).contiguous().to(device)
