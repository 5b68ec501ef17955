"""Peers of backward_warp and warp_blend."""

import importlib.util

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels.bench.peers import Peer, register
from vfi_kernels.bench.peers.compiled import compiled, start_afresh

_grids: dict[tuple[object, ...], Tensor] = {}


def base_grid(b: int, h: int, w: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Every pixel's own position, normalised to [-1, 1] from the first to the last pixel centre. [B, 2, H, W]"""
    wide = torch.promote_types(dtype, torch.float32)
    xs = torch.linspace(-1, 1, w, device=device, dtype=wide).view(1, 1, 1, w).expand(b, 1, h, w)
    ys = torch.linspace(-1, 1, h, device=device, dtype=wide).view(1, 1, h, 1).expand(b, 1, h, w)
    return torch.cat([xs, ys], 1).to(dtype)


def _cached_grid(flow: Tensor) -> Tensor:
    b, _, h, w = flow.shape
    key = (b, h, w, flow.device, flow.dtype)
    if key not in _grids:
        _grids.clear()
        _grids[key] = base_grid(b, h, w, flow.device, flow.dtype)
    return _grids[key]


def _warp_from(image: Tensor, flow: Tensor, base: Tensor) -> Tensor:
    """Flow in units of the grid, added to the base grid, then grid_sample."""
    h, w = image.shape[2:]
    scaled = torch.cat([flow[:, 0:1] / ((w - 1) / 2), flow[:, 1:2] / ((h - 1) / 2)], 1)
    grid = (base + scaled).permute(0, 2, 3, 1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


def rife_warp(image: Tensor, flow: Tensor, padding_mode: str = "border") -> Tensor:
    """RIFE's warp: the base grid is cached; normalising the flow and adding it are done at every call."""
    return _warp_from(image, flow, _cached_grid(flow))


def rife_warp_uncached(image: Tensor, flow: Tensor, padding_mode: str = "border") -> Tensor:
    """RIFE's warp for a compiler, which makes the base grid out of indices instead of reading it."""
    b, _, h, w = flow.shape
    return _warp_from(image, flow, base_grid(b, h, w, flow.device, flow.dtype))


def backwarp(image: Tensor, flow: Tensor, padding_mode: str = "zeros") -> Tensor:
    """The same with zeros outside the image, as models built on softmax splatting do."""
    h, w = image.shape[2:]
    scaled = torch.cat([flow[:, 0:1] / ((w - 1) / 2), flow[:, 1:2] / ((h - 1) / 2)], 1)
    grid = (_cached_grid(flow) + scaled).permute(0, 2, 3, 1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def ready_grid(image: Tensor, flow: Tensor, padding_mode: str = "border") -> tuple[Tensor, Tensor]:
    """The grid of a flow that never changes: what grid_sample costs by itself."""
    b, _, h, w = flow.shape
    wide = torch.promote_types(flow.dtype, torch.float32)
    scale = torch.tensor([2 / max(w - 1, 1), 2 / max(h - 1, 1)], device=flow.device, dtype=wide).view(1, 2, 1, 1)
    return image, (base_grid(b, h, w, flow.device, wide) + flow * scale).permute(0, 2, 3, 1).to(
        image.dtype
    ).contiguous()


def sample_grid(image: Tensor, grid: Tensor, padding_mode: str = "border") -> Tensor:
    """F.grid_sample with the grid already made."""
    return F.grid_sample(image, grid, mode="bilinear", padding_mode=padding_mode, align_corners=True)


def opencv_maps(image: Tensor, flow: Tensor, padding_mode: str = "border") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of pixels and absolute positions as OpenCV wants them, and as many threads as torch uses."""
    import cv2

    cv2.setNumThreads(torch.get_num_threads())
    h, w = flow.shape[2:]
    map_x = flow[0, 0].numpy() + np.arange(w, dtype=np.float32)
    map_y = flow[0, 1].numpy() + np.arange(h, dtype=np.float32)[:, None]
    return np.ascontiguousarray(image[0].permute(1, 2, 0).numpy()), map_x, map_y


def opencv_remap(pixels: np.ndarray, map_x: np.ndarray, map_y: np.ndarray, padding_mode: str = "border") -> np.ndarray:
    """cv2.remap, bilinear, float32 in pixel order, with the maps already made."""
    import cv2

    modes = {"border": cv2.BORDER_REPLICATE, "zeros": cv2.BORDER_CONSTANT, "reflection": cv2.BORDER_REFLECT_101}
    return cv2.remap(pixels, map_x, map_y, cv2.INTER_LINEAR, borderMode=modes[padding_mode])


def opencv_result(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)[None]


def unsuited_to_opencv(image: Tensor, flow: Tensor, padding_mode: str = "border") -> str | None:
    if importlib.util.find_spec("cv2") is None:
        return "OpenCV is not installed"
    if image.device.type != "cpu":
        return "CPU only"
    if image.dtype != torch.float32 or image.shape[0] != 1 or image.shape[1] not in (1, 3, 4):
        return "one float32 image of 1, 3 or 4 channels only"
    return None


def needs_border(image: Tensor, flow: Tensor, padding_mode: str = "border") -> str | None:
    return None if padding_mode == "border" else "border padding_mode only"


def needs_zeros(image: Tensor, flow: Tensor, padding_mode: str = "border") -> str | None:
    return None if padding_mode == "zeros" else "zeros padding_mode only"


def rife_blend(frame0: Tensor, frame1: Tensor, flow: Tensor, mask_logits: Tensor) -> Tensor:
    """RIFE's last step: both frames warped, mixed by the sigmoid of the mask."""
    mask = torch.sigmoid(mask_logits)
    return rife_warp(frame0, flow[:, 0:2]) * mask + rife_warp(frame1, flow[:, 2:4]) * (1 - mask)


def rife_blend_uncached(frame0: Tensor, frame1: Tensor, flow: Tensor, mask_logits: Tensor) -> Tensor:
    """The same for a compiler."""
    mask = torch.sigmoid(mask_logits)
    first, second = rife_warp_uncached(frame0, flow[:, 0:2]), rife_warp_uncached(frame1, flow[:, 2:4])
    return first * mask + second * (1 - mask)


register(Peer("RIFE", "backward_warp", rife_warp, unsuited=needs_border))
register(Peer("backwarp", "backward_warp", backwarp, unsuited=needs_zeros))
register(Peer("grid_sample", "backward_warp", sample_grid, prepare=ready_grid))
register(
    Peer(
        "cv2.remap",
        "backward_warp",
        opencv_remap,
        prepare=opencv_maps,
        result=opencv_result,
        unsuited=unsuited_to_opencv,
        differentiable=False,
    )
)
register(
    Peer(
        "compiled RIFE",
        "backward_warp",
        compiled(rife_warp_uncached),
        prepare=start_afresh,
        unsuited=needs_border,
        compiles=True,
    )
)
register(Peer("RIFE", "warp_blend", rife_blend))
register(Peer("compiled RIFE", "warp_blend", compiled(rife_blend_uncached), prepare=start_afresh, compiles=True))
