"""Inputs of mixture_lora for tests and benchmarks."""

import torch
from torch import Tensor

from vfi_kernels.ops.mixture_lora.op import mixture_lora
from vfi_kernels.testing import OpCase, random, register

LARGE = 1024  # features from which a layer keeps their number and has SemFi's adapters


def make_inputs(b: int, c: int, h: int, w: int, flow: str = "none", **options: object) -> tuple[Tensor, ...]:
    """b c h tokens of w features, then the weights; 4-dimensional, as layouts and strides are tested."""
    out, entries, rank = (w, 7, 16) if w >= LARGE else (w // 2 + 5, 4, 3)

    def scaled(shape: tuple[int, ...], terms: int) -> Tensor:
        double = {**options, "dtype": torch.float64}
        return (random(shape, **double) * max(terms, 1) ** -0.5).to(options["dtype"])  # type: ignore

    biases = (random(n, **options) for n in ((1, 1, 1, out), (entries, 1, 1, rank), (entries, 1, 1, out)))  # type: ignore
    bias, a_bias, b_bias = biases
    a, b_ = scaled((entries, 1, rank, w), w), scaled((entries, 1, out, rank), rank)
    return random((b, c, h, w), **options), scaled((1, 1, out, w), w), bias, a, b_, a_bias, b_bias  # type: ignore


def layer(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The arguments of the public function, but the expert."""
    x, weight, bias, a, b, a_bias, b_bias = tensors
    return x, weight[0, 0], bias[0, 0, 0], a[:, 0], b[:, 0], a_bias[:, 0, 0], b_bias[:, 0, 0]


def one_expert(*tensors: Tensor) -> Tensor:
    return mixture_lora(*layer(*tensors), 3)


def packed(*tensors: Tensor) -> Tensor:
    """Five segments, the first and the last two with an expert of others; some are empty where there are few tokens."""
    b, c, h, _ = tensors[0].shape
    steps = torch.arange(6, device=tensors[0].device)
    return mixture_lora(*layer(*tensors), steps[:5] % 3 + 1, segments=steps * (b * c * h) // 5)


def bytes_moved(x: Tensor, weight: Tensor, bias: Tensor, a: Tensor, b: Tensor, a_bias: Tensor, b_bias: Tensor) -> int:
    """x, the base layer and two adapters read once, the output written once."""
    out = x.nbytes // x.shape[-1] * weight.shape[2]
    adapters = sum(2 * t.nbytes // t.shape[0] for t in (a, b, a_bias, b_bias))
    return x.nbytes + weight.nbytes + bias.nbytes + adapters + out


SMALL = ((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 16, 67))
LAYERS = {"attention": (1, 1, 4096, 5120), "text": (1, 1, 512, 5120)}
for name, call, large in (("one", one_expert, LAYERS), ("segments", packed, LAYERS)):
    register(
        OpCase(
            name=f"mixture_lora-{name}",
            op="mixture_lora",
            call=call,
            make_inputs=make_inputs,
            small=SMALL,
            large=large,
            bytes_moved=bytes_moved,
            autocast=True,
            library=True,
            flow=None,
        )
    )
