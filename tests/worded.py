"""The ops of torch called as the public functions and the references are: with words for options."""

from collections.abc import Callable
from typing import Any

import torch

from vfi_kernels._options import options_of, places


def with_numbers(op: str, arguments: tuple) -> list[Any]:
    """The arguments of `op` with numbers for words; what is no word stays."""
    names = dict(places(op))
    return [options_of(op)[names[n]][a] if n in names and isinstance(a, str) else a for n, a in enumerate(arguments)]


class WordedOps:
    """torch.ops.vfi_kernels, or another namespace with ops of the same schemas."""

    def __init__(self, namespace: str = "vfi_kernels") -> None:
        self.namespace = namespace

    def __getattr__(self, op: str) -> Callable:
        packet = getattr(getattr(torch.ops, self.namespace), op)
        return lambda *arguments: packet(*with_numbers(op, arguments))
