"""Two backward warps and their blend in plain PyTorch: the specification that the kernels are tested against."""

import torch
from torch import Tensor

from vfi_kernels._arguments import expect, expect_image, expect_like, expect_planes, expect_size, shape
from vfi_kernels._results import accumulator, as_result, not_needed
from vfi_kernels.ops._shared.reference_math.bilinear import Corner, corners, flow_term, gather, scatter_add

OP = "warp_blend"


def check(frame0: Tensor, frame1: Tensor, flow: Tensor, mask_logits: Tensor) -> None:
    """Raises ArgumentError unless frames are (B, C, H, W), flow (B, 4, H', W') and mask_logits (B, 1, H', W')."""
    expect_image(OP, "frame0", frame0)
    expect(shape(frame1) == shape(frame0), OP, f"frame1 of shape {shape(frame0)} as frame0 has", shape(frame1))
    expect_like(OP, "frame1", frame1, frame0, "frame0")
    expect_planes(OP, "flow", flow, 4, frame0, "frame0")
    expect_planes(OP, "mask_logits", mask_logits, 1, frame0, "frame0")
    expect_size(OP, "mask_logits", mask_logits, tuple(flow.shape[2:]), "flow")
    empty = frame0.shape[2] * frame0.shape[3] == 0 and flow.numel() > 0
    expect(not empty, OP, "frame0 with at least one pixel where flow has any", shape(frame0))


def warp_blend(frame0: Tensor, frame1: Tensor, flow: Tensor, mask_logits: Tensor) -> Tensor:
    """out = m warp(frame0, flow[:, 0:2]) + (1 - m) warp(frame1, flow[:, 2:4]), m = sigmoid(mask_logits)."""
    check(frame0, frame1, flow, mask_logits)
    acc = accumulator(frame0, flow, mask_logits)
    m = mask_logits.to(acc).sigmoid()
    warped0, _ = _warp(frame0, flow[:, 0:2], acc)
    warped1, _ = _warp(frame1, flow[:, 2:4], acc)
    return as_result(m * warped0 + (1 - m) * warped1, frame0)


def warp_blend_grad(
    grad_out: Tensor,
    frame0: Tensor,
    frame1: Tensor,
    flow: Tensor,
    mask_logits: Tensor,
    deterministic: bool,
    need_frame0: bool,
    need_frame1: bool,
    need_flow: bool,
    need_mask: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each warp receives m g or (1 - m) g (see backward_warp); grad_mask = sum_c g (warped0 - warped1) m (1 - m)."""
    acc = accumulator(frame0, flow, mask_logits)
    g, m = grad_out.to(acc), mask_logits.to(acc).sigmoid()
    grad_frames, warped = [], []
    grad_flow = flow.new_zeros(flow.shape, dtype=acc)
    for n, (frame, share, need) in enumerate(((frame0, m, need_frame0), (frame1, 1 - m, need_frame1))):
        value, corner_list = _warp(frame, flow[:, 2 * n : 2 * n + 2], acc)
        warped.append(value)
        grad_frame = frame.new_zeros(frame.shape, dtype=acc)
        for corner in corner_list:
            if need:
                grad_frame = scatter_add(grad_frame, corner, corner.term(corner.weight, share * g))
            if need_flow:
                term = share * flow_term(corner, gather(frame, corner).to(acc), g)
                grad_flow = grad_flow + _in_half(term, n)
        grad_frames.append(as_result(grad_frame, frame) if need else not_needed(frame))
    grad_mask = (g * (warped[0] - warped[1])).sum(1, keepdim=True) * m * (1 - m)
    return (
        grad_frames[0],
        grad_frames[1],
        as_result(grad_flow, flow) if need_flow else not_needed(flow),
        as_result(grad_mask, mask_logits) if need_mask else not_needed(mask_logits),
    )


def _warp(frame: Tensor, flow: Tensor, acc: torch.dtype) -> tuple[Tensor, list[Corner]]:
    """The warped frame in dtype acc, and the corners it was made from."""
    out = frame.new_zeros((*frame.shape[:2], *flow.shape[2:]), dtype=acc)
    if flow.numel() == 0:
        return out, []
    corner_list = corners(flow.to(acc), frame.shape[2:], "border")
    for corner in corner_list:
        out = out + corner.sampled(gather(frame, corner).to(acc))
    return out, corner_list


def _in_half(term: Tensor, n: int) -> Tensor:
    """(B, 2, H, W) -> (B, 4, H, W): `term` as the n-th pair of channels, zeros in the other."""
    return torch.nn.functional.pad(term, (0, 0, 0, 0, 2 * n, 2 - 2 * n))
