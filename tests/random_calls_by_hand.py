"""Random calls that no case can vary: lists of patches, segments, the geometry of convolutions."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from random_draws import FLOATS, Call, Draw, Placed, placed
from torch import Tensor

import vfi_kernels as vk
from vfi_kernels.testing import map_tensors

EDGES = ("torchvision", "mmcv")


def _beside(draw: Draw, activation: str | None, t: Tensor, usual: torch.dtype) -> Placed:
    """Finite beside an activation: relu makes 0 of -inf and NaN of NaN, and which of them comes is not said."""
    return placed(draw, (draw.values(t) if activation is None else t).to(draw.dtype(usual)))


def _geometry(draw: Draw) -> Call:
    usual = draw.one_of(FLOATS)
    b, _, h, w = draw.shape()
    kernel, stride, padding, dilation = (
        (draw.one_of(each), draw.one_of(each)) for each in ((1, 2, 3), (1, 2), (0, 1, 2), (1, 2))
    )
    groups, parts = draw.one_of((1, 2)), draw.one_of((1, 2, 3))
    c, c_out = groups * parts * draw.one_of((1, 2)), groups * draw.one_of((1, 2, 5))
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip((h, w), kernel, stride, padding, dilation)]
    size, taps = [max(n, 0) for n in size], kernel[0] * kernel[1]
    mask, bias = draw.normal(b, parts * taps, *size), draw.normal(c_out)
    slopes = draw.normal(draw.one_of((1, c_out)))
    activation = draw.one_of((None, "relu", "prelu"))
    tensors: list[Any] = [draw.normal(b, c, h, w), draw.normal(b, 2 * parts * taps, *size) * 2, mask]
    tensors += [draw.normal(c_out, c // groups, *kernel), bias, slopes if activation == "prelu" else None]
    if draw.rarely(0.3):
        tensors[2] = None
    if draw.rarely(0.5):
        tensors[4] = None
    if draw.rarely(0.4):
        tensors[1] = tensors[1].round()

    def call(input, offset, mask, weight, bias, slopes):
        return vk.modulated_deform_conv2d(
            input, offset, mask, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups,
            offset_groups=parts, activation=activation, activation_weight=slopes, edge=edge,
        )  # fmt: skip

    edge = draw.one_of(EDGES)
    arguments = map_tensors(lambda t: _beside(draw, activation, t, usual), tuple(tensors))
    name = f"modulated_deform_conv2d {stride=} {padding=} {dilation=} {groups=} {parts=} {activation=} {edge=}"
    return Call(name, call, arguments, differentiable=activation is None)


def _windows(draw: Draw) -> Call:
    """A correlation whose windows may be too large for the maps."""
    usual = draw.one_of(FLOATS)
    shape = draw.shape()
    arguments = tuple(placed(draw, draw.values(draw.normal(*shape)).to(draw.dtype(usual))) for _ in range(2))
    choices = {"kernel_size": (1, 1, 2, 3), "stride": (1, 1, 2, 3), "padding": (0, 1, 2, 5), "dilation": (1, 1, 2),
               "patch_dilation": (1, 2, 3), "radius": (0, 1, 2)}  # fmt: skip
    options: dict[str, Any] = {name: (draw.one_of(each), draw.one_of(each)) for name, each in choices.items()}
    options |= {"normalize": draw.rarely(0.5), "cost": draw.one_of(("dot", "l1"))}
    return Call(f"correlation {options}", functools.partial(vk.correlation, **options), arguments)


def indices(draw: Draw, b: int, rows: int, columns: int) -> Tensor:
    """Rows without repetition in any order: most name patches, some do not."""
    cells = torch.cartesian_prod(*(torch.arange(n) for n in (b, rows, columns))).view(-1, 3)
    listed = cells[torch.randperm(cells.shape[0], generator=draw.generator)[: draw.size(1, 2, 5, 100)]]
    if draw.rarely(0.5):
        wrong = [[-1, -1, -1], [b, 0, 0], [0, rows, 0], [0, 0, columns], [2**31 - 1, 0, 0], [0, -(2**31), 0]]
        listed = torch.cat([listed, torch.tensor(draw.rng.sample(wrong, 2))])
        listed = listed[torch.randperm(listed.shape[0], generator=draw.generator)]
    return listed.to(torch.int64 if draw.rarely(0.02) else torch.int32)


def _patches(op: str, draw: Draw) -> Call:
    usual, patch, halo = draw.one_of(FLOATS), draw.one_of((1, 2, 3, 4, 8)), draw.one_of((0, 0, 1, 2, 5))
    b, c, rows, columns = draw.size(1, 2), draw.size(1, 2, 3, 17), draw.size(1, 2, 3), draw.size(1, 2, 5)
    listed = indices(draw, b, rows, columns)
    image = draw.values(draw.normal(b, c, rows * patch, columns * patch)).to(draw.dtype(usual))
    if op == "patch_gather":
        order = draw.one_of((torch.preserve_format, torch.contiguous_format, torch.channels_last))
        call = functools.partial(vk.patch_gather, patch=patch, halo=halo, memory_format=order)
        return Call(f"{op} {patch=} {halo=} {order=}", call, (placed(draw, image), placed(draw, listed)))
    patches = draw.values(draw.normal(listed.shape[0], c, patch, patch)).to(draw.dtype(image.dtype))
    arguments = tuple(placed(draw, t) for t in (patches, listed, image))
    return Call(f"{op} {patch=}", getattr(vk, op), arguments, differentiable=op == "patch_scatter")


def _route(draw: Draw) -> Call:
    shape = draw.size(1, 2, 3), draw.size(1, 2, 5), draw.size(1, 2, 9, 70)
    capacity, count = draw.one_of((None, 0, 1, 7, 1000)), draw.one_of((False, True))
    call = functools.partial(vk.patch_indices, capacity=capacity, return_count=count)
    return Call(f"patch_indices {capacity=} {count=}", call, (placed(draw, draw.integers(0, 1, *shape).bool()),))


def _routed(op: str, draw: Draw) -> Call:
    usual, transposed = draw.one_of(FLOATS), draw.rarely(0.3)
    stride = 2 if transposed else draw.one_of((1, 2))
    kernel, patch = 4 if transposed else draw.one_of((1, 3)), draw.one_of((1, 2, 3, 4)) * (1 if transposed else stride)
    b, c, rows, columns = draw.size(1, 2), draw.size(1, 2, 3, 17), draw.size(1, 2, 3), draw.size(1, 2, 5)
    c_out, (h, w) = draw.size(1, 2, 5, 33), (rows * patch, columns * patch)
    size = (2 * h, 2 * w) if transposed else (h // stride, w // stride)
    activation = draw.one_of((None, "relu", "leaky_relu", "prelu", "gelu"))
    padding_mode = draw.one_of(("zeros", "image"))
    weight = draw.normal(*(c, c_out) if transposed else (c_out, c), kernel, kernel)
    tensors: list[Any] = [draw.normal(b, c, h, w), weight, draw.normal(c_out) if draw.rarely(0.5) else None]
    tensors += [draw.normal(draw.one_of((1, c_out))) if activation == "prelu" else None]
    tensors += [draw.normal(b, c_out, *size) if op == "routed_conv2d_" or draw.rarely(0.5) else None]
    listed = placed(draw, indices(draw, b, rows, columns))

    def call(x, weight, bias, slopes, base, listed):
        return getattr(vk, op)(
            x, weight, bias, listed, patch, stride=stride, transposed=transposed, padding_mode=padding_mode,
            activation=activation, activation_weight=slopes, base=base,
        )  # fmt: skip

    arguments = map_tensors(lambda t: _beside(draw, activation, t, usual), tuple(tensors))
    name = f"{op} {patch=} {stride=} {transposed=} {padding_mode=} {activation=}"
    return Call(name, call, (*arguments, listed), differentiable=activation is None and op == "routed_conv2d")


def _mixture(draw: Draw) -> Call:
    usual = draw.one_of(FLOATS)
    shape = [draw.size(1, 2, 5) for _ in range(draw.one_of((0, 1, 2)))]
    tokens = torch.Size(shape).numel()
    size, out, entries, rank = draw.size(1, 3, 17), draw.size(1, 2, 33), draw.one_of((2, 3, 7)), draw.size(1, 3, 16)
    sizes = ((out, size), (out,), (entries, rank, size), (entries, out, rank), (entries, rank), (entries, out))
    tensors = [draw.normal(*shape, size), *(draw.normal(*each) for each in sizes)]
    arguments: list[Any] = [placed(draw, draw.values(t).to(draw.dtype(usual))) for t in tensors]
    for n in (2, 5, 6):
        if draw.rarely(0.3):
            arguments[n] = None
    if draw.rarely(0.5):
        expert = draw.one_of((1, entries - 1, entries, 0, -1)) if draw.rarely() else 1
        return Call(f"mixture_lora {expert=}", vk.mixture_lora, (*arguments, expert))
    count = draw.one_of((1, 2, 5))
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), draw.integers(0, tokens, count - 1).sort().values])
    ends = torch.cat([ends, torch.tensor([tokens])])
    if draw.rarely():
        ends[draw.rng.randrange(count + 1)] = draw.one_of((-1, tokens + 1, 2**62))
    experts = draw.integers(1 if draw.rarely(0.9) else 0, entries - 1, count)
    listed = [placed(draw, t.to(draw.one_of((torch.int64, torch.int32)))) for t in (experts, ends.clamp_max(2**31 - 1))]

    def call(*tensors):
        *others, segments = tensors
        return vk.mixture_lora(*others, segments=segments)

    return Call("mixture_lora segments", call, (*arguments, *listed))


BY_HAND: dict[str, Callable[[Draw], Call]] = {
    "correlation": _windows,
    "modulated_deform_conv2d": _geometry,
    "patch_gather": functools.partial(_patches, "patch_gather"),
    "patch_scatter": functools.partial(_patches, "patch_scatter"),
    "patch_scatter_": functools.partial(_patches, "patch_scatter_"),
    "patch_indices": _route,
    "routed_conv2d": functools.partial(_routed, "routed_conv2d"),
    "routed_conv2d_": functools.partial(_routed, "routed_conv2d_"),
    "mixture_lora": _mixture,
}
