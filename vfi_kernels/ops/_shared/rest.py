"""The memory in which a result made of patches begins."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from vfi_kernels._out import MEMORY
from vfi_kernels._results import empty_result, memory_format
from vfi_kernels._types import Op

_patch_rest: Op = torch.ops.vfi_kernels.patch_rest.default


def rest_of(base: Tensor | None, like: Tensor, size: Sequence[int], indices: Tensor, patch: int) -> Tensor:
    """New memory for an image of `size` that is `base`, or zeros, where no patch is listed. The listed ones are the
    caller's to write. Layout and dtype are those of `base`, else of `like`; a base of another size comes back as it is.
    """
    given = (like if base is None else base, indices)
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._len_torch_dispatch_stack() > 0
    if not traced and all(type(t) in MEMORY for t in given) and _has_rest(given[0].device.type):
        return _patch_rest(base, like, size, indices, patch)
    if base is None:
        return empty_result(like, size).zero_()
    out = base.contiguous(memory_format=memory_format(base))
    return out.clone() if out is base else out


@functools.cache
def _has_rest(device: str) -> bool:
    key = {"cpu": "CPU", "cuda": "CUDA"}.get(device)
    return key is not None and torch._C._dispatch_has_kernel_for_dispatch_key("vfi_kernels::patch_rest", key)
