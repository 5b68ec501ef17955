"""VFI_KERNELS_LOG=1: every call of an op prints a line to stderr before it runs, gradients included.

    vfi_kernels: backward_warp(image=float32 cpu (1, 3, 4, 4) strides (48, 16, 4, 1), flow=..., padding_mode='border')

The line is there when a kernel crashes. It is written by a kernel of the dispatch key BackendSelect, which torch asks
after autograd and before any backend; without the variable nothing is registered, and no call costs more.
"""

import os
import sys
from collections.abc import Iterable

import torch
from torch import Tensor

from vfi_kernels._autograd import NAMESPACE
from vfi_kernels._options import with_words
from vfi_kernels._types import Function

VARIABLE = "VFI_KERNELS_LOG"
_KEY = "BackendSelect"
_library: torch.library.Library | None = None  # kept for the life of the process


def apply_environment(ops: Iterable[str]) -> None:
    """Logs `ops` if the environment asks for it; RuntimeError if it asks for what is neither 0 nor 1."""
    asked = os.environ.get(VARIABLE, "0")
    if asked not in ("", "0", "1"):
        raise RuntimeError(f"vfi_kernels: expected {VARIABLE} to be 0 or 1, got {asked}")
    if asked == "1":
        global _library
        _library = torch.library.Library(NAMESPACE, "IMPL")
        for op in ops:
            _library.impl(op, _logged(op), _KEY, with_keyset=True)


def _logged(op: str) -> Function:
    target = getattr(torch.ops.vfi_kernels, op).default
    arguments = target._schema.arguments
    below = torch._C._dispatch_keyset_full_after(getattr(torch._C.DispatchKey, _KEY))

    def kernel(keyset: torch._C.DispatchKeySet, *args: object) -> object:
        given = with_words(op, [*args, *(a.default_value for a in arguments[len(args) :])])  # torch drops defaults
        told = ", ".join(f"{a.name}={described(value)}" for a, value in zip(arguments, given))
        print(f"vfi_kernels: {op}({told})", file=sys.stderr, flush=True)
        return target.redispatch(keyset & below, *args)

    return kernel


def described(value: object) -> str:
    """A tensor by what a kernel has to know of it, anything else as Python shows it."""
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{dtype} {value.device} {tuple(value.shape)} strides {tuple(value.stride())}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(described(v) for v in value)}]"
    return repr(value)
