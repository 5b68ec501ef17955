"""Backward warping in plain PyTorch: the specification that the kernels are tested against."""

from torch import Tensor

from vfi_kernels._arguments import expect, expect_choice, expect_image, expect_planes, shape
from vfi_kernels._options import PADDING_MODES
from vfi_kernels._results import accumulator, as_result, not_needed
from vfi_kernels.ops._shared.reference_math.bilinear import corners, flow_term, gather, scatter_add


def check(image: Tensor, flow: Tensor, padding_mode: str, op: str = "backward_warp") -> None:
    """Raises ArgumentError unless image is (B, C, H, W), flow (B, 2, H', W') on its device, padding_mode one of
    PADDING_MODES."""
    expect_image(op, "image", image)
    expect_planes(op, "flow", flow, 2, image, "image")
    expect_choice(op, "padding_mode", padding_mode, PADDING_MODES)
    empty = image.shape[2] * image.shape[3] == 0 and flow.numel() > 0
    expect(not empty, op, "image with at least one pixel where flow has any", shape(image))


def backward_warp(image: Tensor, flow: Tensor, padding_mode: str = "border") -> Tensor:
    """out[b, c, y, x] = image[b, c] at (x + flow[b, 0, y, x], y + flow[b, 1, y, x])."""
    check(image, flow, padding_mode)
    acc = accumulator(image, flow)
    out = image.new_zeros((*image.shape[:2], *flow.shape[2:]), dtype=acc)
    if out.numel() > 0:
        for corner in corners(flow.to(acc), image.shape[2:], padding_mode):
            out = out + corner.sampled(gather(image, corner).to(acc))
    return as_result(out, image)


def backward_warp_grad(
    grad_out: Tensor,
    image: Tensor,
    flow: Tensor,
    padding_mode: str,
    deterministic: bool,
    need_image: bool,
    need_flow: bool,
) -> tuple[Tensor, Tensor]:
    """out = sum_k w_k image[k]: grad_image[k] += w_k g, grad_flow = sum_c g sum_k dw_k image[k]."""
    acc = accumulator(image, flow)
    g = grad_out.to(acc)
    grad_image = image.new_zeros(image.shape, dtype=acc)
    grad_flow = flow.new_zeros(flow.shape, dtype=acc)
    if flow.numel() > 0:
        for corner in corners(flow.to(acc), image.shape[2:], padding_mode):
            if need_image:
                grad_image = scatter_add(grad_image, corner, corner.term(corner.weight, g))
            if need_flow:
                grad_flow = grad_flow + flow_term(corner, gather(image, corner).to(acc), g)
    return (
        as_result(grad_image, image) if need_image else not_needed(image),
        as_result(grad_flow, flow) if need_flow else not_needed(flow),
    )
