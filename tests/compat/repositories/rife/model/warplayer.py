"""Shaped like RIFE's warplayer: a cache of normalised grids."""

import torch

device = torch.device("cpu")
backwarp_tenGrid = {}


def warp(tenInput, tenFlow):
    k = (str(tenFlow.device), str(tenFlow.size()))
    height, width = tenFlow.shape[2:]
    if k not in backwarp_tenGrid:
        ys, xs = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        backwarp_tenGrid[k] = torch.stack((xs, ys))[None].to(device)
    half = [(tenInput.shape[3] - 1.0) / 2.0, (tenInput.shape[2] - 1.0) / 2.0]
    grid = backwarp_tenGrid[k] + torch.cat((tenFlow[:, :1] / half[0], tenFlow[:, 1:] / half[1]), 1)
    grid = grid.permute(0, 2, 3, 1)
    return torch.nn.functional.grid_sample(tenInput, grid, mode="bilinear", padding_mode="border", align_corners=True)
