"""torch.compile of a peer, compiled anew for every measurement."""

import functools
from collections.abc import Callable
from typing import Any

import torch


@functools.cache
def _compiled(function: Callable) -> Callable:
    return torch.compile(function, dynamic=False)


def compiled(function: Callable) -> Callable:
    """`function` under torch.compile; torch's compiler is imported at the first call."""

    def call(*arguments: Any, **options: Any) -> Any:
        return _compiled(function)(*arguments, **options)

    return call


def start_afresh(*arguments: Any, **options: Any) -> tuple:
    """A peer's `prepare`: forgets code that was compiled for other shapes or another number of threads."""
    import torch._inductor.config

    torch._dynamo.reset()
    torch._inductor.config.cpp.threads = torch.get_num_threads()
    return arguments
