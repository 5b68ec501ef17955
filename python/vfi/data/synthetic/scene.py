"""A scene of moving layers: frames, motion and visibility at any time, each from the layers themselves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vfi.data.synthetic.motion import Motion

_SUPERSAMPLE = 2
_INSIDE = 1e-4  # px that a point may lie outside the frame by rounding


@dataclass(frozen=True)
class Layer:
    """A texture that moves.

    The texture's middle is the layer's point (0, 0). With three channels, RGB, it is a background: it covers all,
    mirrored beyond its edges. A fourth channel is the opacity, which is cut off at 0 and 1; at the edges of the texture
    it must be 0 or less.
    """

    motion: Motion
    texture: Tensor  # (3 or 4, h, w) float32
    density: float  # texels per px

    def sample(self, points: np.ndarray, channels: slice = slice(None)) -> Tensor:
        """The texture at the layer's points (2, h, w), bilinear, as (channels, h, w) float32."""
        sizes = np.array(self.texture.shape[:0:-1], dtype=np.float32).reshape(2, 1, 1)
        grid = torch.from_numpy((points * (2 * self.density / (sizes - 1))).astype(np.float32)).movedim(0, -1)[None]
        padding_mode = "reflection" if len(self.texture) == 3 else "border"
        return F.grid_sample(self.texture[None, channels], grid, padding_mode=padding_mode, align_corners=True)[0]

    def covers(self, points: np.ndarray, time: float) -> np.ndarray:
        """Whether the layer hides what is behind it at the frame's points (2, N): its opacity there is half or more."""
        if len(self.texture) == 3:
            return np.ones(points.shape[1], dtype=bool)
        left, top, right, bottom = self.box(time)
        covered: np.ndarray = (points[0] >= left) & (points[0] <= right) & (points[1] >= top) & (points[1] <= bottom)
        there = self.motion.to_layer(points[:, covered], time)
        covered[covered] = (self.sample(there[:, None], slice(3, 4)) >= 0.5).flatten().numpy()
        return covered

    def box(self, time: float) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a part of the frame outside which the layer is not seen."""
        half = (np.array(self.texture.shape[:0:-1]) - 1) / (2 * self.density)
        side = np.linspace(-1, 1, 17)
        edge = np.ones_like(side)
        border = np.block([[side, edge, side, -edge], [-edge, side, edge, side]]) * half[:, None]
        places = self.motion.to_frame(border, time)
        return *(places.min(1) - 1), *(places.max(1) + 1)


@dataclass(frozen=True)
class Scene:
    """Layers in front of each other, the first of them a background, seen in frames of `size` (height, width)."""

    layers: tuple[Layer, ...]
    size: tuple[int, int]

    def frame(self, time: float) -> Tensor:
        """The frame at `time`: (3, H, W) float32 RGB in [0, 1], the mean of four points per pixel."""
        ys, xs = ((np.arange(_SUPERSAMPLE * n) + 0.5) / _SUPERSAMPLE - 0.5 for n in self.size)
        canvas = torch.empty(3, len(ys), len(xs))
        for layer in self.layers:
            if len(layer.texture) == 3:
                canvas[:] = layer.sample(layer.motion.grid_to_layer(xs, ys, time))
                continue
            left, top, right, bottom = layer.box(time)
            columns = slice(*np.searchsorted(xs, (left, right)))
            rows = slice(*np.searchsorted(ys, (top, bottom)))
            sampled = layer.sample(layer.motion.grid_to_layer(xs[columns], ys[rows], time))
            behind = canvas[:, rows, columns]
            behind += (sampled[:3] - behind) * sampled[3:].clamp_(0, 1)
        return F.avg_pool2d(canvas[None], _SUPERSAMPLE)[0].clamp_(0, 1)

    def track(self, time: float, to_times: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Where the points that the frame at `time` shows at its pixel centres are at other times.

        At each pixel this is the point of the foremost layer with an opacity of at least one half.

        Args:
            time: of the frame whose pixels are followed.
            to_times: N times to which they are followed.

        Returns:
            flow: (N, 2, H, W) float32 px, x first: from a pixel to its point at each of `to_times`; exact but for
                rounding.
            visible: (N, H, W) bool: whether the point is then in the frame, and in front of the layers that cover.
        """
        height, width = self.size
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height))).reshape(2, -1).astype(np.float64)
        foremost = np.zeros(pixels.shape[1], dtype=np.int64)
        for i, layer in enumerate(self.layers):
            foremost[layer.covers(pixels, time)] = i
        flows, visible = [], []
        for to_time in to_times:
            places = np.empty_like(pixels)
            for i, layer in enumerate(self.layers):
                own = foremost == i
                places[:, own] = layer.motion.to_frame(layer.motion.to_layer(pixels[:, own], time), to_time)
            flows.append(places - pixels)
            limit = np.array([[width - 1], [height - 1]])
            seen = np.all((places >= -_INSIDE) & (places <= limit + _INSIDE), axis=0)
            for i, layer in enumerate(self.layers):
                behind = seen & (foremost < i)
                seen[behind] = ~layer.covers(places[:, behind], to_time)
            visible.append(seen)
        flow = torch.from_numpy(np.stack(flows).astype(np.float32)).view(-1, 2, height, width)
        return flow, torch.from_numpy(np.stack(visible)).view(-1, height, width)
