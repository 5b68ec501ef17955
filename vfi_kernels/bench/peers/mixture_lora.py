"""Peers of mixture_lora: the layer without adapters, and the ways to write them in plain torch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels.bench.peers import Peer, register
from vfi_kernels.ops.mixture_lora.cases import EXPERT, as_layer, segments_of


def of_segments(layer: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`layer(x, *weights, expert)` for one expert, or for each segment by itself."""

    def call(x: Tensor, *weights: Tensor, packed: bool) -> Tensor:
        if not packed:
            return layer(x, *weights, EXPERT)
        rows = x.flatten(0, -2)
        experts, offsets = (t.tolist() for t in segments_of(x))
        parts = [layer(rows[i:j], *weights, e) for e, i, j in zip(experts, offsets, offsets[1:])]
        return torch.cat(parts).reshape(*x.shape[:-1], -1)

    return call


def all_adapters(
    x: Tensor, weight: Tensor, bias: Tensor, a: Tensor, b: Tensor, a_bias: Tensor, b_bias: Tensor, expert: int
) -> Tensor:
    """Every one, times 1 or 0: how a mixture is written whose weights may be anything."""
    out = F.linear(x, weight, bias)
    for e in range(a.shape[0]):
        out = out + (1.0 if e in (0, expert) else 0.0) * F.linear(F.linear(x, a[e], a_bias[e]), b[e], b_bias[e])
    return out


def two_adapters(
    x: Tensor, weight: Tensor, bias: Tensor, a: Tensor, b: Tensor, a_bias: Tensor, b_bias: Tensor, expert: int
) -> Tensor:
    """Only those in use, one after the other."""
    out = F.linear(x, weight, bias)
    for e in (0, expert):
        out = out + F.linear(F.linear(x, a[e], a_bias[e]), b[e], b_bias[e])
    return out


def merged(
    x: Tensor, weight: Tensor, bias: Tensor, a: Tensor, b: Tensor, a_bias: Tensor, b_bias: Tensor, expert: int
) -> Tensor:
    """The adapters added to the weights in every call."""
    for e in (0, expert):
        weight, bias = weight + b[e] @ a[e], bias + b[e] @ a_bias[e] + b_bias[e]
    return F.linear(x, weight, bias)


def prepare(*tensors: Tensor, **_: object) -> tuple[Tensor, ...]:
    return as_layer(*tensors)


def linear(x: Tensor, weight: Tensor, bias: Tensor, *adapters: Tensor, packed: bool) -> Tensor:
    return F.linear(x, weight, bias)


def base_only(*tensors: Tensor, **_: object) -> tuple[Tensor, ...]:
    return as_layer(*tensors)[:3]


OP = "mixture_lora"
register(Peer("linear without adapters", OP, linear, base_only, yardstick=True))
register(Peer("seven adapters", OP, of_segments(all_adapters), prepare))
register(Peer("two adapters", OP, of_segments(two_adapters), prepare))
register(Peer("merged in the call", OP, of_segments(merged), prepare))
