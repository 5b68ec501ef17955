"""The options of the ops that are one of a few words, and the numbers that stand for them in a schema.

A string in a schema would cost an allocation in every call, which torch's stable ABI never frees. The public functions
and the Python implementations take words; csrc/base/options.h has the same words in the same order.
"""

import functools
from collections.abc import Callable
from typing import Literal, TypeVar

import torch

from vfi_kernels._arguments import expect
from vfi_kernels._types import Arguments

R = TypeVar("R")
PaddingMode = Literal["border", "zeros", "reflection"]
Boundary = Literal["keys", "linear", "replicate"]
Mode = Literal["sum", "average", "linear", "softmax"]
Holes = Literal["zero", "add", "clip"]
Edge = Literal["torchvision", "mmcv"]
PatchPaddingMode = Literal["zeros", "image"]
Cost = Literal["dot", "l1"]
Activation = Literal["relu", "prelu", "gelu", "leaky_relu"]

PADDING_MODES = {"border": 0, "zeros": 1, "reflection": 2}
BOUNDARIES = {"keys": 0, "linear": 1, "replicate": 2}
MODES = {"sum": 0, "average": 1, "linear": 2, "softmax": 3}
HOLES = {"zero": 0, "add": 1, "clip": 2}
EDGES = {"torchvision": 0, "mmcv": 1}
PATCH_PADDING_MODES = {"zeros": 0, "image": 1}
COSTS = {"dot": 0, "l1": 1}
ACTIVATIONS = {"none": 0, "relu": 1, "prelu": 2, "gelu": 3, "leaky_relu": 4}
OPTIONS = {  # of the integers that a schema calls so
    "padding_mode": PADDING_MODES, "boundary": BOUNDARIES, "mode": MODES, "holes": HOLES, "edge": EDGES,
    "cost": COSTS, "activation": ACTIVATIONS,
}  # fmt: skip
PATCH_OPTIONS = OPTIONS | {"padding_mode": PATCH_PADDING_MODES}


def options_of(op: str) -> dict[str, dict[str, int]]:
    """The options of an op by their names in its schema, and the words of each."""
    return PATCH_OPTIONS if op.startswith("routed_conv2d") else OPTIONS


def word(op: str, name: str, number: int) -> str:
    """The word of the option `name` that has this number."""
    words = list(options_of(op)[name])
    if not 0 <= number < len(words):
        listed = [f"{n} ('{w}')" for n, w in enumerate(words)]
        expect(False, op, f"{name} {', '.join(listed[:-1])} or {listed[-1]}", number)
    return words[number]


@functools.cache
def places(op: str) -> tuple[tuple[int, str], ...]:
    """Which arguments of an op are options: place and name."""
    arguments = getattr(torch.ops.vfi_kernels, op).default._schema.arguments
    return tuple((n, a.name) for n, a in enumerate(arguments) if a.name in OPTIONS and str(a.type) == "int")


def with_words(op: str, arguments: Arguments) -> Arguments:
    """The arguments of an op with words for numbers; those at the end may be missing."""
    worded = list(arguments)
    for n, name in places(op):
        if n < len(worded):
            worded[n] = word(op, name, worded[n])
    return worded


def taking_numbers(op: str, function: Callable[..., R]) -> Callable[..., R]:
    """An implementation of `op` out of a function that takes words."""

    @functools.wraps(function)
    def implementation(*arguments: object) -> R:
        return function(*with_words(op, arguments))

    return implementation if places(op) else function
