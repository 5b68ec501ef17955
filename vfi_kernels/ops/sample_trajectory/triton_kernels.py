"""Flows along trajectories in Triton."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator, empty_result, not_needed
from vfi_kernels.ops._shared.triton_math.bilinear import block_pixels, load_plane, store_plane
from vfi_kernels.ops._shared.triton_math.keys_cubic import Path, resize_axis, taps_at, tau_at, trajectory_flow
from vfi_kernels.ops._shared.triton_math.launch import THREADS, launch
from vfi_kernels.ops.sample_trajectory import reference


# out[b, t] = sum_k weight_k(tau) keyframes[b, k], resized (Keys 1981, eq. 4); one program per BLOCK pixels of a tau
@triton.jit
def _sample_trajectory_kernel(
    blocks,
    path,
    out,  # [B, 2 T, out_height, out_width]
    out_height,
    out_width,
    CURVE: tl.constexpr,
    SAME: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    part, y, x = block_pixels(blocks, out_width, BLOCK)
    b, t, live = part // path[2], part % path[2], y < out_height
    flow_x, flow_y = trajectory_flow(path, b, t, y, x, out_height, out_width, live, CURVE, SAME, ACC)
    store_plane(out, b, 2 * t, y, x, live, flow_x)
    store_plane(out, b, 2 * t + 1, y, x, live, flow_y)


# terms[b, t] = sum_c grad_out[b, t, c] d out[b, t, c] / d tau, 0 where that is not finite; one program per BLOCK pixels
@triton.jit
def _tau_terms_kernel(
    blocks,
    path,
    grad_out,  # [B, 2 T, out_height, out_width]
    terms,  # [B, T, out_height, out_width]
    out_height,
    out_width,
    CURVE: tl.constexpr,
    SAME: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    part, y, x = block_pixels(blocks, out_width, BLOCK)
    b, t, live = part // path[2], part % path[2], y < out_height
    flow_x, flow_y = trajectory_flow(path, b, t, y, x, out_height, out_width, live, CURVE, SAME, ACC)
    gx = load_plane(grad_out, b, 2 * t, y, x, live, ACC)
    gy = load_plane(grad_out, b, 2 * t + 1, y, x, live, ACC)
    term_x = tl.where(tl.abs(flow_x) < float("inf"), gx * flow_x, 0.0)
    term_y = tl.where(tl.abs(flow_y) < float("inf"), gy * flow_y, 0.0)
    store_plane(terms, b, t, y, x, live, term_x + term_y)


# grad_keyframes[b, k] = sum over t and the output pixels that read it of weight_k(tau) grad_out[b, t]
#
# One program per BLOCK pixels of one keyframe; it alone adds what they get, in a fixed order.
@triton.jit
def _keyframe_grad_kernel(
    blocks,
    path,
    grad_out,  # [B, 2 T, out_height, out_width]
    grad_keyframes,  # [B, 2 K, height, width]
    out_height,
    out_width,
    rows,  # of the output that may read a row of the keyframes
    columns,
    CURVE: tl.constexpr,
    SAME: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    _, _, count, height, width = path
    part, y, x = block_pixels(blocks, width, BLOCK)
    b, k, live = part // CURVE[0], part % CURVE[0], y < height
    sum_x, sum_y = tl.zeros([BLOCK], ACC), tl.zeros([BLOCK], ACC)
    top = tl.maximum((y.to(tl.int64) - 1) * out_height // height - 1, 0).to(tl.int32)
    left = tl.maximum((x.to(tl.int64) - 1) * out_width // width - 1, 0).to(tl.int32)
    for n in range(0, rows * columns):
        out_y, out_x = y, x
        share = tl.zeros([BLOCK], ACC) + 1
        used = live
        if not SAME:
            out_y, out_x = top + n // columns, left + n % columns
            used = live & (out_y < out_height) & (out_x < out_width)
            at_y, ly = resize_axis(out_y, height, out_height, ACC)
            at_x, lx = resize_axis(out_x, width, out_width, ACC)
            wy = tl.where(at_y == y, 1 - ly, tl.where(at_y + 1 == y, ly, 0.0))
            wx = tl.where(at_x == x, 1 - lx, tl.where(at_x + 1 == x, lx, 0.0))
            share = wy * wx
            used = used & (share != 0)
        for t in range(0, count):
            first, w0, w1, w2, w3 = taps_at(tau_at(path, b, t, out_y, out_x, used, CURVE, ACC), CURVE)
            m = k - first
            w = tl.where(m == 0, w0, tl.where(m == 1, w1, tl.where(m == 2, w2, tl.where(m == 3, w3, 0.0))))
            w = tl.where(tl.abs(w) < float("inf"), w, 0.0)  # a tau that is not finite adds nothing
            sum_x += share * w * load_plane(grad_out, b, 2 * t, out_y, out_x, used & (w != 0), ACC)
            sum_y += share * w * load_plane(grad_out, b, 2 * t + 1, out_y, out_x, used & (w != 0), ACC)
    if not SAME:
        sum_x *= out_width.to(ACC) / width.to(ACC)
        sum_y *= out_height.to(ACC) / height.to(ACC)
    store_plane(grad_keyframes, b, 2 * k, y, x, live, sum_x)
    store_plane(grad_keyframes, b, 2 * k + 1, y, x, live, sum_y)


def sample_trajectory(
    keyframes: Tensor,
    taus: Tensor,
    height: int,
    width: int,
    first: float,
    step: float,
    a: float,
    boundary: str,
    extrapolate: bool,
    derivative: bool,
) -> Tensor:
    """flows[b, t] = sum_k weight_k(taus[b, t]) keyframes[b, k], resized."""
    reference.check(keyframes, taus, height, width, step, boundary)
    curve, size = (first, step, a, boundary, extrapolate), (height, width)
    path = Path(keyframes, taus, size, curve, accumulator(keyframes, taus), int(derivative))
    out = empty_result(keyframes, (keyframes.shape[0], 2 * taus.shape[1], height, width))
    if out.numel() > 0:
        constants = {"parts": taus.shape[1], "BLOCK": THREADS, **path.constants()}
        launch(_sample_trajectory_kernel, out, size, path.packed(), out, *size, **constants)
    return out


def sample_trajectory_grad(
    grad_out: Tensor,
    keyframes: Tensor,
    taus: Tensor,
    height: int,
    width: int,
    first: float,
    step: float,
    a: float,
    boundary: str,
    extrapolate: bool,
    derivative: bool,
    need_keyframes: bool,
    need_taus: bool,
) -> tuple[Tensor, Tensor]:
    """Every keyframe gathers what it gave; the terms of a tau that pixels share are summed by torch."""
    curve, size, acc = (first, step, a, boundary, extrapolate), (height, width), accumulator(keyframes, taus)
    grad_keyframes, grad_taus = not_needed(keyframes), not_needed(taus)
    if need_keyframes:
        grad_keyframes = empty_result(keyframes)
        path = Path(keyframes, taus, size, curve, acc, int(derivative))
        if grad_out.numel() == 0:
            grad_keyframes.zero_()
        elif grad_keyframes.numel() > 0:
            same = tuple(keyframes.shape[2:]) == size
            reach = [1 if same else 3 * -(-o // i) + 2 for o, i in zip(size, keyframes.shape[2:])]
            constants = {"parts": keyframes.shape[1] // 2, "BLOCK": THREADS, **path.constants()}
            arguments = (path.packed(), grad_out, grad_keyframes, *size, *reach)
            launch(_keyframe_grad_kernel, keyframes, keyframes.shape[2:], *arguments, **constants)
    if need_taus:
        grad_taus = empty_result(taus)
        path = Path(keyframes, taus, size, curve, acc, int(derivative) + 1)
        terms = torch.zeros((*taus.shape[:2], *size), dtype=acc, device=taus.device)
        if terms.numel() > 0:
            constants = {"parts": taus.shape[1], "BLOCK": THREADS, **path.constants()}
            launch(_tau_terms_kernel, terms, size, path.packed(), grad_out, terms, *size, **constants)
        shared = tuple(taus.shape[2:]) != size
        grad_taus.copy_(terms.sum((2, 3), keepdim=True) if shared else terms)
    return grad_keyframes, grad_taus
