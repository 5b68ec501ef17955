"""A picture of samples, to look at: frames, frame 0 moved by the flow to where it is visible, and the flow."""

from pathlib import Path

import numpy as np
import torch

import vfi_kernels as vk
from data_steps import shards
from vfi.drawing.flow_colours import flow_colours
from vfi.files.images import write_image
from vfi.files.opencv import opencv
from vfi.training.shards import listed

GREY = 128


def draw(folder: Path, picture: Path, seed: int, rows: int = 6, columns: int = 2, size: int = 112) -> None:
    """Samples at random: the three frames, frame 0 on the middle one, the flow to frame 1; grey is not known."""
    rng = np.random.default_rng(seed)
    names = [path.name for path in listed(folder)]
    strips = []
    for _ in range(rows * columns):
        arrays = shards.read(folder, names[rng.integers(len(names))])
        row = rng.integers(len(arrays["time"]))
        strips.append(strip(*(arrays[field][row] for field in ("frames", "flow", "visible")), size))
    lines = [np.concatenate(strips[i : i + columns], axis=1) for i in range(0, len(strips), columns)]
    write_image(picture, np.concatenate(lines))


def strip(frames: np.ndarray, flow: np.ndarray, visible: np.ndarray, size: int) -> np.ndarray:
    moved = np.full_like(frames[0], GREY)
    colours = np.full_like(frames[0], GREY)
    if not np.isnan(flow).any():
        field = flow.astype(np.float32)
        moved = np.where(visible[0, ..., None], warped(frames[0], field[:2]), GREY).astype(np.uint8)
        there = field[2:].transpose(1, 2, 0)
        colours = flow_colours(there, max(1.0, float(np.quantile(np.hypot(*field[2:]), 0.99))))
    panels = [*frames, moved, colours]
    return np.concatenate([opencv().resize(p, (size, size), interpolation=opencv().INTER_AREA) for p in panels], axis=1)


def warped(frame: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """frame (H, W, 3) at the places to which flow (2, H, W) points, float32."""
    image = torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None].float()
    return vk.backward_warp(image, torch.from_numpy(flow)[None])[0].permute(1, 2, 0).numpy()
