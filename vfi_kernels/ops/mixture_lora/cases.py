"""Inputs of mixture_lora for tests and benchmarks."""

import functools

import torch
from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels.ops.mixture_lora.op import mixture_lora
from vfi_kernels.testing import OpCase, Place, random, register

EXPERT = 3
LARGE = 1024  # features from which a layer keeps their number and has SemFi's adapters


def make_inputs(b: int, c: int, h: int, w: int, flow: str = "none", **options: Unpack[Place]) -> tuple[Tensor, ...]:
    """b c h tokens of w features, then the weights; 4-dimensional, as layouts and strides are tested."""
    out, entries, rank = (w, 7, 16) if w >= LARGE else (w // 2 + 5, 4, 3)
    double: Place = {**options, "dtype": torch.float64}

    def weights(*shape: int) -> Tensor:
        """Of a product with results of size one."""
        scale: float = max(shape[-1], 1) ** -0.5
        return (random(shape, **double) * scale).to(options["dtype"])

    layer = random((b, c, h, w), **options), weights(1, 1, out, w), random((1, 1, 1, out), **options)
    adapters = weights(entries, 1, rank, w), weights(entries, 1, out, rank)
    return *layer, *adapters, random((entries, 1, 1, rank), **options), random((entries, 1, 1, out), **options)


def as_layer(
    x: Tensor, weight: Tensor, bias: Tensor, a: Tensor, b: Tensor, a_bias: Tensor, b_bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What make_inputs gives, as a layer has it."""
    return x, weight[0, 0], bias[0, 0, 0], a[:, 0], b[:, 0], a_bias[:, 0, 0], b_bias[:, 0, 0]


def segments_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """Experts 1, 2, 3, 1, 2 and the offsets of their segments; some are empty where there are few tokens."""
    b, c, h, _ = x.shape
    steps = torch.arange(6, device=x.device)
    return steps[:5] % 3 + 1, steps * (b * c * h) // 5


def call(*tensors: Tensor, packed: bool) -> Tensor:
    if not packed:
        return mixture_lora(*as_layer(*tensors), EXPERT)
    experts, segments = segments_of(tensors[0])
    return mixture_lora(*as_layer(*tensors), experts, segments=segments)


def bytes_moved(x: Tensor, weight: Tensor, bias: Tensor, *adapters: Tensor) -> int:
    """x, the base layer and two adapters read once, the output written once."""
    read = x.nbytes + weight.nbytes + bias.nbytes + sum(2 * t.nbytes // t.shape[0] for t in adapters)
    return read + x[..., :1].nbytes * weight.shape[2]


SMALL = ((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 16, 67))
LAYERS: dict[str, tuple[int, ...]] = {"attention": (1, 1, 4096, 5120), "text": (1, 1, 512, 5120)}
for name in ("one", "segments"):
    register(
        OpCase(
            name=f"mixture_lora-{name}",
            op="mixture_lora",
            call=functools.partial(call, packed=name == "segments"),
            make_inputs=make_inputs,
            small=SMALL,
            large=LAYERS,
            bytes_moved=bytes_moved,
            autocast=True,
            library=True,
            flow=None,
            local="features" if name == "one" else None,
        )
    )
