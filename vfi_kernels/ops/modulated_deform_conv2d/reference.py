"""Modulated deformable convolution in plain PyTorch: the specification that the kernels are tested against.

It writes out the columns that no kernel keeps: for every output pixel all sampled values, C KH KW of them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vfi_kernels._arguments import expect, expect_choice, expect_image, expect_like, expect_planes, shape
from vfi_kernels._options import EDGES
from vfi_kernels._results import accumulator, as_result, not_needed
from vfi_kernels.ops._shared.reference_math import bilinear

OP = "modulated_deform_conv2d"
FUSED = ("none", "relu", "prelu")


@dataclass(frozen=True)
class Geometry:
    """Which taps there are and where they lie."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    offset_groups: int

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        y, x = (
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip((height, width), self.kernel, self.stride, self.padding, self.dilation)
        )
        return y, x


def check(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    offset_groups: int,
    activation: str,
    activation_weight: Tensor | None,
    edge: str,
) -> tuple[Geometry, tuple[int, int]]:
    """Raises ArgumentError unless the arguments fit each other; otherwise the geometry and the output's size."""
    expect_image(OP, "input", input)
    expect(weight.dim() == 4, OP, "weight of shape (C_out, C / groups, KH, KW)", shape(weight))
    c, c_out = input.shape[1], weight.shape[0]
    for name, pair, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1)):
        right = len(pair) == 2 and min(pair) >= least
        expect(right, OP, f"{name} of two integers from {least} up", tuple(pair))
    expect(groups >= 1 and c % groups == 0, OP, f"groups that divide the {c} channels of input", groups)
    expect(c_out % groups == 0, OP, f"groups that divide the {c_out} channels of the output", groups)
    ok = weight.shape[1] == c // groups and weight.shape[2] * weight.shape[3] > 0
    expect(
        ok, OP, f"weight of shape ({c_out}, {c // groups}, KH, KW) for {c} channels in {groups} groups", shape(weight)
    )
    expect_like(OP, "weight", weight, input, "input")
    ok = offset_groups >= 1 and c % offset_groups == 0
    expect(ok, OP, f"offset_groups that divide the {c} channels of input", offset_groups)
    kernel = weight.shape[2], weight.shape[3]
    g = Geometry(
        kernel, (stride[0], stride[1]), (padding[0], padding[1]), (dilation[0], dilation[1]), groups, offset_groups
    )
    size = g.output_size(input.shape[2], input.shape[3])
    expect(min(size) >= 0, OP, "an input that the kernel fits into with its padding", shape(input))
    for name, planes, each in (("offset", offset, 2), ("mask", mask, 1)):
        if planes is None:
            continue
        expect_planes(OP, name, planes, each * offset_groups * g.taps, input, "input")
        right = (planes.shape[2], planes.shape[3]) == size
        expect(right, OP, f"{name} of height and width {size} as the output has", shape(planes))
    for name, vector, sizes in (("bias", bias, (c_out,)), ("activation_weight", activation_weight, (1, c_out))):
        if vector is None:
            continue
        right = vector.dim() == 1 and vector.shape[0] in sizes
        expect(right, OP, f"{name} of shape {' or '.join(f'({n},)' for n in sizes)}", shape(vector))
        expect_like(OP, name, vector, input, "input")
    expect_choice(OP, "activation", activation, FUSED)
    has_weight = activation_weight is not None
    expect(
        has_weight == (activation == "prelu"),
        OP,
        "an activation_weight with activation 'prelu', and only then",
        activation,
    )
    expect_choice(OP, "edge", edge, EDGES)
    return g, size


class Samples(NamedTuple):
    """What every tap reads. B' = B offset_groups maps; H' = taps H_out: in each, the taps one below another."""

    corners: list[bilinear.Corner]
    images: list[Tensor]  # [B', C / offset_groups, H', W], the input at each corner
    mask: Tensor  # [B', 1, H', W]
    on_edge: Tensor  # bool [B', 1, H', W], a coordinate is exactly -1

    def value(self) -> Tensor:
        """The sampled value before the mask: (B', C / offset_groups, H', W)."""
        terms = [corner.term(corner.weight, image) for corner, image in zip(self.corners, self.images)]
        return terms[0] + terms[1] + terms[2] + terms[3]

    def any_inside(self) -> Tensor:
        a, b, c, d = (corner.inside for corner in self.corners)
        return a | b | c | d


def sample(input: Tensor, offset: Tensor, mask: Tensor | None, g: Geometry, acc: torch.dtype) -> Samples:
    b, c, h, w = input.shape
    ho, wo = offset.shape[2:]
    maps = b * g.offset_groups
    moves = offset.to(acc).reshape(b, g.offset_groups, g.taps, 2, ho, wo).transpose(2, 3).flip(2)
    flow = moves.reshape(maps, 2, g.taps * ho, wo)

    def starts(axis: int, count: int) -> Tensor:
        taps, pixels = (torch.arange(n, device=input.device, dtype=acc) for n in (g.kernel[axis], count))
        return (taps * g.dilation[axis])[:, None] + (pixels * g.stride[axis] - g.padding[axis])[None]

    ys = starts(0, ho)[:, None, :, None].expand(*g.kernel, ho, wo).reshape(g.taps * ho, wo)
    xs = starts(1, wo)[None, :, None, :].expand(*g.kernel, ho, wo).reshape(g.taps * ho, wo)
    corners = bilinear.corners(flow, (h, w), "zeros", (xs, ys))
    source = input.to(acc).reshape(maps, c // g.offset_groups, h, w)
    if h * w == 0:  # nothing is inside: any pixel will do for those that are not read
        source = source.new_zeros((*source.shape[:2], 1, 1))
    images = [bilinear.gather(source, corner) for corner in corners]
    ones = flow.new_ones((maps, 1, g.taps * ho, wo))
    factors = ones if mask is None else mask.to(acc).reshape(ones.shape)
    at_x, at_y = (_at_minus_one(start, flow[:, n : n + 1]) for n, start in enumerate((xs, ys)))
    return Samples(corners, images, factors, at_x | at_y)


def _at_minus_one(start: Tensor, flow: Tensor) -> Tensor:
    base, fraction = bilinear.split(start, flow)
    return (base == -1) & (fraction == 0)


def modulated_deform_conv2d(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    offset_groups: int,
    activation: str,
    activation_weight: Tensor | None,
    edge: str,
    allow_tf32: bool,
) -> Tensor:
    """out[o, i, j] = bias[o] + sum over c, kh, kw of weight[o, c, kh, kw] mask[..] input[c, position(kh, kw, i, j)]."""
    g, size = check(
        input, offset, mask, weight, bias, stride, padding, dilation, groups, offset_groups, activation,
        activation_weight, edge,
    )  # fmt: skip
    acc = accumulator(input, offset, mask)
    samples = sample(input, offset, mask, g, acc)
    columns = torch.where(samples.any_inside(), samples.mask * samples.value(), 0)
    b, c_out = input.shape[0], weight.shape[0]
    columns = columns.reshape(b, groups, input.shape[1] // groups * g.taps, size[0] * size[1])
    with torch.autocast(input.device.type, enabled=False):
        out = _weights(weight, g, acc) @ columns
    out = out.reshape(b, c_out, *size)
    if bias is not None:
        out = out + bias.to(acc)[:, None, None]
    if activation == "relu":
        out = out.relu()
    if activation_weight is not None:
        out = torch.where(out > 0, out, activation_weight.to(acc)[:, None, None] * out)
    return as_result(out, input)


def _weights(weight: Tensor, g: Geometry, acc: torch.dtype) -> Tensor:
    """(groups, C_out / groups, C / groups KH KW)"""
    return weight.to(acc).reshape(g.groups, weight.shape[0] // g.groups, weight.shape[1] * g.taps)


def modulated_deform_conv2d_grad(
    grad_out: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    offset_groups: int,
    edge: str,
    allow_tf32: bool,
    deterministic: bool,
    need_input: bool,
    need_offset: bool,
    need_mask: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of input, offset, mask, weight and bias."""
    g, (ho, wo) = check(
        input, offset, mask, weight, None, stride, padding, dilation, groups, offset_groups, "none", None, edge
    )
    acc = accumulator(input, offset, mask)
    s = sample(input, offset, mask, g, acc)
    value = s.value()
    b, c = input.shape[:2]
    upstream = grad_out.to(acc).reshape(b, groups, weight.shape[0] // groups, ho * wo)
    columns = torch.where(s.any_inside(), s.mask * value, 0).reshape(b, groups, c // groups * g.taps, ho * wo)
    with torch.autocast(input.device.type, enabled=False):
        grad_columns = (_weights(weight, g, acc).transpose(1, 2) @ upstream).reshape(value.shape)
        grad_weight = (upstream @ columns.transpose(2, 3)).sum(0)
    grad_value = torch.where(s.any_inside(), s.mask * grad_columns, 0)
    grad_source = torch.zeros_like(input, dtype=acc).reshape(value.shape[0], value.shape[1], *input.shape[2:])
    flow_gradient = torch.zeros_like(s.mask).expand(-1, 2, -1, -1)
    for corner, image in zip(s.corners, s.images):
        if input.numel() > 0:
            grad_source = bilinear.scatter_add(grad_source, corner, corner.term(corner.weight, grad_value))
        flow_gradient = flow_gradient + bilinear.flow_term(corner, image, grad_value)
    if edge == "mmcv":
        flow_gradient = torch.where(s.on_edge, 0, flow_gradient)
    moves = flow_gradient.reshape(b, offset_groups, 2, g.taps, ho, wo).flip(2).transpose(2, 3)
    grad_mask = torch.where(s.any_inside(), grad_columns * value, 0).sum(1)
    return (
        as_result(grad_source.reshape(input.shape), input) if need_input else not_needed(input),
        as_result(moves.reshape(offset.shape), offset) if need_offset else not_needed(offset),
        as_result(grad_mask.reshape(mask.shape), mask) if need_mask and mask is not None else not_needed(input),
        as_result(grad_weight.reshape(weight.shape), weight) if need_weight else not_needed(weight),
        upstream.sum((0, 3)).reshape(-1).to(weight.dtype) if need_bias else not_needed(weight),
    )
