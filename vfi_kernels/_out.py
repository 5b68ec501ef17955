"""`out=` of the public functions: results go into memory that the caller keeps."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from vfi_kernels._arguments import expect, expect_written, is_alias_of, shape
from vfi_kernels._types import Arguments, Options

R = TypeVar("R")
_give_results: Callable[[list[Tensor]], None] = torch.ops.vfi_kernels.give_results.default
# Dimensions of a result that its op has as one.
JOINED = {
    "mixture_lora": (0, -2), "sample_trajectory": (1, 2), "trajectory_splat": (0, 1), "trajectory_warp": (0, 1),
}  # fmt: skip


def into(out: Any, function: Callable[..., R], args: Arguments, kwargs: Options, direct: bool) -> R:
    """function(*args, **kwargs) with its first result, a tensor or a list of them, written into `out`.

    C++ takes `out` for the memory of its result where its layout is the one that the result would have anyway (`result`
    in csrc/torch/checks.h); else the result is copied, as it always is where a subclass of Tensor or a tracer stands
    between (`direct` is False).
    """
    op = function.__name__
    outs = list(out) if isinstance(out, (list, tuple)) else [out]
    read = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    for t in outs:
        expect(isinstance(t, Tensor), op, "out to be a tensor, or tensors for several", type(t).__name__)
        expect_written(op, "out", t)
        usable = not direct or not t.is_inference() or torch.is_inference_mode_enabled()
        expect(usable, op, "an out that was not made in torch.inference_mode(), or to be called in it", "one of it")
        shared = direct and any(is_alias_of(t, other) for other in (*read, *(o for o in outs if o is not t)))
        expect(not shared, op, "an out with memory of its own", "one in the memory of an argument or of another out")
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in (*outs, *read))
    expect(not recorded, op, "tensors without requires_grad where out is given, or torch.no_grad()", "one that has it")
    direct = direct and not any(t.is_neg() or t.is_conj() for t in outs)
    if direct:
        _give_results([t.flatten(*JOINED[op]) if op in JOINED and t.dim() > 1 else t for t in outs])
    try:
        found = function(*args, **kwargs)
    finally:
        if direct:
            _give_results([])
    first = found[0] if isinstance(found, tuple) else found
    made = first if isinstance(first, list) else [first]
    expect(len(made) == len(outs), op, f"{len(made)} tensors for out", len(outs))
    for t, result in zip(outs, made):
        expect(t.shape == result.shape, op, f"out of shape {shape(result)}", shape(t))
        wanted, got = (str(x.dtype).removeprefix("torch.") for x in (result, t))
        expect(wanted == got, op, f"out of dtype {wanted}", got)
        expect(t.device == result.device, op, f"out on device {result.device}", t.device)
    for t, result in zip(outs, made):
        if direct and result.data_ptr() == t.data_ptr():
            torch.autograd.graph.increment_version(t)
        else:
            t.copy_(result)
    written: Any = (out, *found[1:]) if isinstance(found, tuple) else out
    results: R = written
    return results
