"""Convolutions of every kind, and lists of patches, for the tests of routed_conv2d."""

import pytest
import torch
import torch._dynamo.testing
import torch.nn.functional as F

KINDS = {
    "3x3": {"kernel": 3},
    "3x3 stride 2": {"kernel": 3, "stride": 2},
    "1x1": {"kernel": 1},
    "1x1 stride 2": {"kernel": 1, "stride": 2},
    "transposed": {"kernel": 4, "stride": 2, "transposed": True},
}
every_kind = pytest.mark.parametrize("kind", KINDS)
PATCH = 4


def split(kind):
    """Kernel size and the op's options."""
    options = dict(KINDS[kind])
    return options.pop("kernel"), options


def dense(x, weight, bias=None, *, stride=1, transposed=False):
    """The whole image at once."""
    if transposed:
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
    return F.conv2d(x, weight, bias, stride=stride, padding=weight.shape[2] // 2)


def make(kind, rng, c=5, c_out=7, size=(2, 12, 20), dtype=torch.float64):
    kernel, options = split(kind)
    b, h, w = size
    channels = (c, c_out) if options.get("transposed") else (c_out, c)
    x = torch.randn(b, c, h, w, generator=rng, dtype=torch.float64)
    weight = torch.randn(*channels, kernel, kernel, generator=rng, dtype=torch.float64) / 6
    bias = torch.randn(c_out, generator=rng, dtype=torch.float64)
    return [t.to(dtype) for t in (x, weight, bias)], options


def route_of(x, rng, keep=0.5):
    return torch.rand(x.shape[0], x.shape[2] // PATCH, x.shape[3] // PATCH, generator=rng) < keep


def spread(route, side):
    """(B, 1, H, W): which pixels are active."""
    return route.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, None]


X, W, LIST = torch.zeros(1, 3, 8, 12), torch.zeros(5, 3, 3, 3), torch.zeros(1, 3, dtype=torch.int32)
