"""What stands still in front of what moves: subtitles, logos, game displays.

Optical flow is smooth: it drags the flow of what moves over what stands before it. There no motion at all explains
the other frame better than the flow that was found.
"""

import torch.nn.functional as F
from torch import Tensor

import vfi_kernels as vk

# Of brightness in [0, 1]: noise, by which no motion must be the better; slope, below which nothing can be told; and
# the difference up to which a pixel among still ones is one of them.
NOISE, SLOPE, ALIKE = 2 / 255, 6 / 255, 12 / 255
# Of the difference that one pixel of motion would make, and of the pixels around.
SHARE_OF_SLOPE, SHARE_OF_PIXELS = 0.15, 0.3


class Standstill:
    """How far two frames (B, 3, H, W) agree in brightness, pixel by pixel and around each, whatever moves."""

    def __init__(self, frame0: Tensor, frame1: Tensor) -> None:
        self.plane0, self.plane1 = (frame.mean(1, keepdim=True) for frame in (frame0, frame1))
        self.apart = around((self.plane0 - self.plane1).abs_())
        self.twice = self.apart * 2 + NOISE
        # A pattern agrees with itself: if it moved, the frames would differ, but by as much as it repeats itself.
        slope = around(slopes((self.plane0 + self.plane1) / 2))
        self.surely = (self.apart <= SHARE_OF_SLOPE * slope) & (slope > SLOPE)
        self.alike = self.apart < ALIKE

    def in_frame0(self, flow: Tensor) -> Tensor:
        """Where pixels of frame 0 stand still, although the flow to frame 1 says that they move: 1 there, else 0,
        (B, 1, H, W).

        A pixel does if the frames agree around it, and

        - the flow there explains the other frame by far worse, or is below a pixel and no better; or
        - the picture has so much of a pattern there that it would differ if it moved; or
        - many of the pixels around do.
        """
        return self._in(self.plane0, self.plane1, flow)

    def in_frame1(self, flow: Tensor) -> Tensor:
        """As `in_frame0`, by the flow from frame 1 to frame 0."""
        return self._in(self.plane1, self.plane0, flow)

    def _in(self, plane: Tensor, other: Tensor, flow: Tensor) -> Tensor:
        error = around(vk.backward_warp(other, flow).sub_(plane).abs_())
        x, y = flow.split(1, 1)
        short = (x * x).addcmul_(y, y) < 1
        still = self.surely | (self.twice < error) | (self.apart <= error).logical_and_(short)
        among = around(still.to(plane.dtype)) > SHARE_OF_PIXELS
        return (still | among.logical_and_(self.alike)).to(plane.dtype)


def slopes(plane: Tensor) -> Tensor:
    """How much a plane changes from pixel to pixel, across and down."""
    padded = F.pad(plane, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]).abs_()
    return across.add_((padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]).abs_()).mul_(0.5)


def around(plane: Tensor) -> Tensor:
    """Mean over 3 x 3 pixels, at the border with the last ones repeated. avg_pool2d takes ten times as long."""
    padded = F.pad(plane, (1, 1, 1, 1), mode="replicate")
    rows = (padded[..., :-2] + padded[..., 1:-1]).add_(padded[..., 2:])
    return (rows[:, :, :-2] + rows[:, :, 1:-1]).add_(rows[:, :, 2:]).mul_(1 / 9)
