"""The formulas of other repositories in plain PyTorch, written from their definitions: what the shims must give."""

import torch
import torch.nn.functional as F


def grid_warp(image, flow, padding, scale_by_flow=False):
    """RIFE's construction: a grid of linspace(-1, 1) of the flow's size, plus the flow over half of (size - 1)."""
    height, width = flow.shape[2:]
    base = flow if scale_by_flow else image
    axes = [torch.linspace(-1, 1, size, dtype=flow.dtype) for size in (height, width)]
    ys, xs = torch.meshgrid(*axes, indexing="ij")
    half = [(base.shape[axis] - 1) / 2 for axis in (3, 2)]
    grid = torch.stack((xs + flow[:, 0] / half[0], ys + flow[:, 1] / half[1]), -1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode=padding, align_corners=True)


def masked_warp(image, flow):
    """XVFI: zeros outside, times where an image of ones, warped alike, is 0.999 or more."""
    mask = grid_warp(torch.ones_like(image), flow, "zeros") >= 0.999
    return grid_warp(image, flow, "zeros") * mask


def splat_sum(values, flow):
    """Every pixel into the four around its target."""
    batch, channels, height, width = values.shape
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    at_x, at_y = xs + flow[:, 0], ys + flow[:, 1]
    out = torch.zeros(batch, channels, height * width, dtype=values.dtype)
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = at_x.detach().floor() + dx, at_y.detach().floor() + dy
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            weight = (1 - (at_x - x).abs()) * (1 - (at_y - y).abs()) * inside
            index = torch.where(inside, y * width + x, 0).long().flatten(1)[:, None].expand(-1, channels, -1)
            out = out.scatter_add(2, index, (values * weight[:, None]).flatten(2))
    return out.view_as(values)


def softsplat(values, flow, metric, mode):
    """softmax-splatting's arithmetic: the weight as one more channel, exp without a shift, 1e-7 by default."""
    name, _, eps = mode.partition("-")
    if name == "sum":
        return splat_sum(values, flow)
    weight = {"avg": torch.ones_like(flow[:, :1]), "linear": metric, "soft": None if metric is None else metric.exp()}
    sums = splat_sum(torch.cat((values * weight[name], weight[name]), 1), flow)
    divisor = sums[:, -1:]
    if eps == "zeroeps":
        divisor = torch.where(divisor == 0, 1, divisor)
    elif eps == "clipeps":
        divisor = divisor.clip(1e-7)
    else:
        divisor = divisor + 1e-7
    return sums[:, :-1] / divisor


def cost_volume(first, second):
    """The mean over channels of first(x, y) second(x + dx, y + dy), dy slowest, 0 outside."""
    height, width = first.shape[2:]
    padded = F.pad(second, (4, 4, 4, 4))
    return torch.stack(
        [
            (first * padded[:, :, dy : dy + height, dx : dx + width]).mean(1)
            for dy in range(9)
            for dx in range(9)
        ],
        1,
    )  # fmt: skip
