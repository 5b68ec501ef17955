"""torch.compile of a peer, compiled anew for every measurement."""

import functools

import torch

from vfi_kernels._types import Function


@functools.cache
def _compiled(function: Function) -> Function:
    return torch.compile(function, dynamic=False)


def compiled(function: Function) -> Function:
    """`function` under torch.compile; torch's compiler is imported at the first call."""

    def call(*arguments: object, **options: object) -> object:
        return _compiled(function)(*arguments, **options)

    return call


def start_afresh(*arguments: object, **options: object) -> tuple[object, ...]:
    """A peer's `prepare`: forgets code that was compiled for other shapes or another number of threads."""
    import torch._inductor.config

    torch._dynamo.reset()
    torch._inductor.config.cpp.threads = torch.get_num_threads()
    return arguments
