"""Small RDVFIs and frames for them."""

import pytest
import torch

pytest.importorskip("diffusers")
from vfi.models import rdvfi

VARIANTS = ("d", "u")


def made(variant="d", **settings):
    """Tiny, with random numbers where a fresh network has zeros."""
    torch.manual_seed(0)
    net = rdvfi.tiny(variant, **settings)
    with torch.no_grad():
        for head in (net.estimator.adjacent.head, net.estimator.fusion.flow, net.estimator.fusion.metric):
            torch.nn.init.normal_(head.weight, std=0.1)
        torch.nn.init.normal_(net.synthesis.head.weight, std=0.02)
    return net


def pair(height=70, width=101, batch=1, seed=1):
    return torch.rand(2, batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)
