"""`out=` of the public functions: results go into memory that the caller keeps."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from vfi_kernels._arguments import dtype_name, expect, expect_written, shape
from vfi_kernels._types import Arguments, Options

R = TypeVar("R")
_give_results: Callable[[list[Tensor]], None] = torch.ops.vfi_kernels.give_results.default
MEMORY = (Tensor, torch.nn.Parameter)
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
    traced = torch.jit.is_tracing()
    expect(not traced, op, "out under torch.export or torch.compile", "it under torch.jit.trace, which would drop it")
    outs = list(out) if isinstance(out, (list, tuple)) else [out]
    read = [t for t in each(args, kwargs) if isinstance(t, Tensor)]
    for n, t in enumerate(outs):
        expect(isinstance(t, Tensor), op, "out to be a tensor, or tensors for several", type(t).__name__)
        if direct:
            _check_memory(op, t, (*read, *outs[:n]))
        else:
            expect(all(t is not other for other in outs[:n]), op, "an out for each image", "one of them twice")
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in (*outs, *read))
    expect(not recorded, op, "tensors without requires_grad where out is given, or torch.no_grad()", "one that has it")
    direct = direct and all(type(t) in MEMORY and not t.is_neg() and not t.is_conj() for t in outs)
    if len(outs) > 1:  # each is written before the next one is looked at
        direct = direct and all(t.dtype == x.dtype and t.shape[-3:] == x.shape[-3:] for t, x in zip(outs, read))
    if not direct:
        return _copied(op, out, outs, function(*args, **kwargs))
    _give_results([t.flatten(*JOINED[op]) if op in JOINED and t.dim() > 1 else t for t in outs])
    try:
        return _copied(op, out, outs, function(*args, **kwargs), direct=True)
    finally:
        _give_results([])
        for t in outs:  # also where a call is refused after it has written
            torch.autograd.graph.increment_version(t)


def each(args: Arguments, kwargs: Options) -> Iterator[Any]:
    """Arguments, and what is in lists among them."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, (list, tuple)):
            yield from value
        else:
            yield value


def _check_memory(op: str, t: Tensor, others: Sequence[Tensor]) -> None:
    """`t` can be written, and shares no byte with others."""
    expect_written(op, "out", t)
    usable = not t.is_inference() or torch.is_inference_mode_enabled()
    expect(usable, op, "an out that was not made in torch.inference_mode(), or to be called in it", "one of it")
    begin, end = _bytes(t)
    for other in others:
        first, last = _bytes(other)
        meets = other.device == t.device and first < end and begin < last
        expect(not meets, op, "an out with memory of its own", "one in the memory of an argument or of another out")


def _bytes(t: Tensor) -> tuple[int, int]:
    """Where its memory begins, and where it ends; sparse tensors and those without memory have none."""
    if t.layout != torch.strided or t.device.type == "meta" or t.numel() == 0:
        return 0, 0
    storage: int = torch._C._data_address(t)  # type: ignore[attr-defined]
    begin = storage + int(t.storage_offset()) * t.element_size()
    return begin, begin + int(sum((n - 1) * s for n, s in zip(t.shape, t.stride())) + 1) * t.element_size()


def _copied(op: str, out: Any, outs: Sequence[Tensor], returned: R, direct: bool = False) -> R:
    """What `function` returned with `out` for its first part; copied where it is not there already."""
    first: Any = returned[0] if isinstance(returned, tuple) else returned
    made = first if isinstance(first, list) else [first]
    expect(len(made) == len(outs), op, f"{len(made)} tensors for out", len(outs))
    for t, result in zip(outs, made):
        expect(t.shape == result.shape, op, f"out of shape {shape(result)}", shape(t))
        wanted, got = map(dtype_name, (result, t))
        expect(wanted == got, op, f"out of dtype {wanted}", got)
        expect(t.device == result.device, op, f"out on device {result.device}", t.device)
    for t, result in zip(outs, made):
        if not direct or result.data_ptr() != t.data_ptr():
            t.copy_(result)
    written: Any = (out, *returned[1:]) if isinstance(returned, tuple) else out
    return cast(R, written)
