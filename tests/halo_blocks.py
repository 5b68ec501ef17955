"""Convolutions, blocks of one function and lists of patches for the tests of halos."""

import pytest
import torch
from torch import nn

PATCH = 8


def conv(**options):
    return nn.Conv2d(4, 4, 3, **{"padding": 1, **options})


@pytest.fixture(name="x")
def an_image(rng):
    torch.manual_seed(3)
    return torch.randn(1, 4, 4 * PATCH, 4 * PATCH, generator=rng)


EVERY = torch.ones(1, 4, 4, dtype=torch.bool)
INNER = torch.zeros(1, 4, 4, dtype=torch.bool)
INNER[:, 1:3, 1:3] = True


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tiles):
        return self.function(*tiles)
