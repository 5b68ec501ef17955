"""Linear layers with adapters, and two plain ways to compute them."""

import torch
import torch.nn.functional as F


def make(rng, tokens=37, size=24, out=19, entries=7, rank=5, dtype=torch.float64):
    """x, weight, bias, lora_a, lora_b, lora_a_bias, lora_b_bias: results of size one."""
    shapes = ((tokens, size), (out, size), (out,), (entries, rank, size), (entries, out, rank), (entries, rank),
              (entries, out))  # fmt: skip
    x, weight, *rest = (torch.randn(s, generator=rng, dtype=torch.float64) for s in shapes)
    return [t.to(dtype) for t in (x, weight / size**0.5, rest[0], rest[1] / size**0.5, rest[2] / rank**0.5, *rest[3:])]


def naive(x, weight, bias, a, b, a_bias, b_bias, expert):
    """All adapters, those that are off times 0."""
    out = F.linear(x, weight, bias)
    for e in range(a.shape[0]):
        out = out + (1.0 if e in (0, expert) else 0.0) * F.linear(F.linear(x, a[e], a_bias[e]), b[e], b_bias[e])
    return out


def merged(x, weight, bias, a, b, a_bias, b_bias, expert):
    """One linear layer."""
    for e in (0, expert):
        weight = weight + b[e] @ a[e]
        bias = bias + b[e] @ a_bias[e] + b_bias[e]
    return F.linear(x, weight, bias)
