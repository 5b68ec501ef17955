"""Flows along trajectories for Triton kernels: csrc/trajectories/keys_cubic.h and trajectory.h in Triton.

    u = (tau - first) / step,  i = floor(u) in 0 .. K - 2,  s = u - i,  r = 1 - s
    value = a s r^2 f[i-1] + ((1 + 2s) r^2 - a s^2 r) f[i] + (s^2 (3 - 2s) - a s r^2) f[i+1] + a s^2 r f[i+2]

The numbers beyond the ends are folded onto keyframes, so any tau has four consecutive keyframes at most. A path comes
as (keyframes, taus, T, h, w): keyframes [B, 2 K, h, w] and taus [B, T, 1 or H, 1 or W] with their strides. A keyframe,
or a corner of the resize, of weight 0 is not read.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._types import Options
from vfi_kernels.ops._shared.triton_math.bilinear import load_plane
from vfi_kernels.ops._shared.triton_math.launch import triton_dtype


@dataclass(frozen=True)
class Path:
    """Keyframes, taus and the curve between them, on an output grid of `size`."""

    keyframes: Tensor
    taus: Tensor
    size: tuple[int, int]
    curve: tuple[float, float, float, str, bool]  # first, step, a, boundary, extrapolate
    acc: torch.dtype
    order: int = 0

    def packed(self) -> tuple[object, ...]:
        return self.keyframes, self.taus, self.taus.shape[1], *self.keyframes.shape[2:]

    def constants(self) -> Options:
        shared = tuple(self.taus.shape[2:]) != self.size
        return {
            "CURVE": (self.keyframes.shape[1] // 2, *self.curve, self.order, shared),
            "SAME": tuple(self.keyframes.shape[2:]) == self.size,
            "ACC": triton_dtype(self.acc),
        }


@triton.jit
def hermite_weights(s, a: tl.constexpr, ORDER: tl.constexpr):
    """Weights of f[i-1] ... f[i+2], or their first or second derivative along s."""
    r = 1 - s
    if ORDER == 0:
        before, after = a * s * r * r, a * s * s * r
        here, there = (1 + 2 * s) * r * r, s * s * (3 - 2 * s)
    elif ORDER == 1:
        before, after = a * r * (1 - 3 * s), a * s * (2 - 3 * s)
        here, there = -6 * s * r, 6 * s * r
    else:
        before, after = a * (6 * s - 4), a * (2 - 6 * s)
        here, there = 12 * s - 6, 6 - 12 * s
    return before, here - after, there - before, after


@triton.jit
def folded(end, BOUNDARY: tl.constexpr):
    """What the number beyond an end adds to the weights of the last, the last but one and the one before that."""
    if BOUNDARY == "keys":
        return 3 * end, -3 * end, end
    elif BOUNDARY == "linear":
        return 2 * end, -end, tl.zeros_like(end)
    else:
        return end, tl.zeros_like(end), tl.zeros_like(end)


@triton.jit
def taps_at(tau, CURVE: tl.constexpr):
    """first, w0, w1, w2, w3: keyframe first + m has weight w[m], which is 0 for those that do not exist."""
    COUNT: tl.constexpr = CURVE[0]
    ORDER: tl.constexpr = CURVE[6]
    zero = tl.zeros_like(tau)
    if COUNT == 1:
        return zero.to(tl.int32), zero + (1 if ORDER == 0 else 0), zero, zero, zero
    else:
        u = (tau - CURVE[1]) / CURVE[2]
        at = u if CURVE[5] else tl.where(u < 0, 0.0, tl.where(u > COUNT - 1, COUNT - 1.0, u))
        low = tl.minimum(tl.maximum(tl.where(u == u, at, 0.0), 0.0), COUNT - 2.0)
        i = tl.floor(low).to(tl.int32)
        s = at - i.to(tau.dtype)
        w0, w1, w2, w3 = hermite_weights(s, CURVE[3], ORDER)
        first = i - 1
        if COUNT == 2 and CURVE[4] == "replicate":
            first, w0, w1, w2, w3 = i, w0 + w1, w2 + w3, zero, zero
        elif COUNT == 2:
            w0 = 1 - s if ORDER == 0 else zero + (-1 if ORDER == 1 else 0)
            first, w1, w2, w3 = i, s if ORDER == 0 else zero - w0, zero, zero
        else:
            near, next_, far = folded(w3, CURVE[4])
            at_end = i == COUNT - 2
            w2, w1, w0 = (
                w2 + tl.where(at_end, near, 0.0),
                w1 + tl.where(at_end, next_, 0.0),
                w0 + tl.where(at_end, far, 0.0),
            )
            w3 = tl.where(at_end, 0.0, w3)
            near, next_, far = folded(w0, CURVE[4])
            at_start = i == 0
            first = tl.where(at_start, 0, first)
            w0, w1, w2, w3 = (
                tl.where(at_start, w1 + near, w0),
                tl.where(at_start, w2 + next_, w1),
                tl.where(at_start, w3 + far, w2),
                tl.where(at_start, 0.0, w3),
            )
        if ORDER > 0:
            moves = (u == u) if CURVE[5] else at == u
            w0, w1 = tl.where(moves, w0 / CURVE[2], 0.0), tl.where(moves, w1 / CURVE[2], 0.0)
            w2, w3 = tl.where(moves, w2 / CURVE[2], 0.0), tl.where(moves, w3 / CURVE[2], 0.0)
        if ORDER > 1:
            w0, w1, w2, w3 = w0 / CURVE[2], w1 / CURVE[2], w2 / CURVE[2], w3 / CURVE[2]
        return first, w0, w1, w2, w3


@triton.jit
def resize_axis(x, size, out_size, ACC: tl.constexpr):
    """Output pixel x lies between `at` and `at` + 1, at the exact fraction of ((2 x + 1) size / out_size - 1) / 2."""
    doubled = 2 * out_size.to(tl.int64)
    numerator = tl.maximum((2 * x.to(tl.int64) + 1) * size - out_size, 0)
    at = numerator // doubled
    fraction = (numerator - at * doubled).to(ACC) / doubled.to(ACC)
    fraction = tl.where(at >= size - 1, 0.0, fraction)
    return tl.minimum(at, size - 1).to(tl.int32), fraction


@triton.jit
def resized(keyframes, b, channel, row, column, live, SAME: tl.constexpr, ACC: tl.constexpr):
    """A plane of the keyframes at (row, column), each a pixel and a fraction; channel may differ from lane to lane."""
    y, ly = row
    x, lx = column
    top = load_plane(keyframes, b, channel, y, x, live, ACC)
    if not SAME:
        right = load_plane(keyframes, b, channel, y, x + 1, live & (lx != 0), ACC)
        top = tl.where(lx == 0, top, (1 - lx) * top + lx * right)
        below = live & (ly != 0)
        bottom = load_plane(keyframes, b, channel, y + 1, x, below, ACC)
        right = load_plane(keyframes, b, channel, y + 1, x + 1, below & (lx != 0), ACC)
        bottom = tl.where(lx == 0, bottom, (1 - lx) * bottom + lx * right)
        top = tl.where(ly == 0, top, (1 - ly) * top + ly * bottom)
    return top


@triton.jit
def tau_at(path, b, t, y, x, live, CURVE: tl.constexpr, ACC: tl.constexpr):
    """tau of the pixels (y, x), which may share it."""
    if CURVE[7]:
        return load_plane(path[1], b, t, y * 0, x * 0, live, ACC)
    else:
        return load_plane(path[1], b, t, y, x, live, ACC)


@triton.jit
def trajectory_flow(
    path, b, t, y, x, out_height, out_width, live, CURVE: tl.constexpr, SAME: tl.constexpr, ACC: tl.constexpr
):
    """The flow of tau t at output pixels (y, x), or its derivative: along x and y, [BLOCK] each."""
    keyframes, _, _, height, width = path
    first, w0, w1, w2, w3 = taps_at(tau_at(path, b, t, y, x, live, CURVE, ACC), CURVE)
    weights = (w0, w1, w2, w3)
    row, column = (y, 0.0), (x, 0.0)
    if not SAME:
        row, column = resize_axis(y, height, out_height, ACC), resize_axis(x, width, out_width, ACC)
    flow_x, flow_y = tl.zeros_like(w0), tl.zeros_like(w0)
    for m in tl.static_range(4):
        w = weights[m]
        channel = (2 * (first + m)).to(tl.int64)
        used = live & (w != 0)
        flow_x += tl.where(used, w * resized(keyframes, b, channel, row, column, used, SAME, ACC), 0.0)
        flow_y += tl.where(used, w * resized(keyframes, b, channel + 1, row, column, used, SAME, ACC), 0.0)
    if not SAME:
        flow_x *= out_width.to(ACC) / width.to(ACC)
        flow_y *= out_height.to(ACC) / height.to(ACC)
    return flow_x, flow_y
