"""A block, an image and a route map for the tests of routed modules."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

PATCH = 16


class Refine(nn.Module):
    """A small block of the kind that APR-VFI routes: two lower resolutions, skips, transposed layers."""

    def __init__(self, c=3, width=4):
        super().__init__()
        self.first = nn.Conv2d(c, width, 3, padding=1)
        self.down = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.PReLU(width), nn.Conv2d(width, width, 3, 1, 1))
        self.quarter = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.PReLU(width))
        self.up = nn.ConvTranspose2d(width, width, 4, 2, 1)
        self.up_again = nn.ConvTranspose2d(width, width, 4, 2, 1)
        self.last = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, *x):
        a = F.relu(self.first(torch.cat(x, 1)))
        b = self.down(a)
        return self.last(F.gelu(self.up_again(self.up(self.quarter(b)) + b)) + a)


@pytest.fixture(name="block")
def a_block():
    torch.manual_seed(1)
    return Refine().double()


@pytest.fixture(name="x")
def an_image(rng):
    return torch.randn(2, 3, 3 * PATCH, 4 * PATCH, generator=rng, dtype=torch.float64)


@pytest.fixture(name="route")
def a_route(rng):
    return torch.rand(2, 3, 4, generator=rng) < 0.5


def spread(route, side=PATCH):
    return route.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, None]
