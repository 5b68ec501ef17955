"""A linear layer with a universal and an expert adapter as a torch op: public function, shapes, gradient."""

import torch
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels._arguments import (
    dtype_name,
    expect,
    expect_floating,
    expect_integer,
    expect_tensors,
    expect_tensors_or_none,
)
from vfi_kernels._autograd import (
    refuse_forward_mode,
    register_differentiable,
    register_fake,
    register_looped_vmap,
    register_second_derivative,
)
from vfi_kernels._overrides import overridable
from vfi_kernels._results import empty_result, not_needed
from vfi_kernels._types import Arguments, Context, Gradients, Op, Ops
from vfi_kernels.ops._shared.convolution import allow_tf32, cast_for_autocast
from vfi_kernels.ops.mixture_lora import reference
from vfi_kernels.ops.mixture_lora.reference import OP

_mixture_lora: Op = torch.ops.vfi_kernels.mixture_lora.default
_mixture_lora_grad: Ops = torch.ops.vfi_kernels.mixture_lora_grad.default
INDICES = (torch.int64, torch.int32)


@overridable
def mixture_lora(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lora_a: Tensor,
    lora_b: Tensor,
    lora_a_bias: Tensor | None,
    lora_b_bias: Tensor | None,
    expert: int | Tensor,
    *,
    segments: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    r"""A linear layer with a universal adapter and one expert out of several, as one shrink and one expand.

    .. math::
        out = input\, weight^T + bias + \sum_{e \in \{0,\, expert\}} (input\, lora\_a_e^T + lora\_a\_bias_e)\,
        lora\_b_e^T + lora\_b\_bias_e

    Adapters are low-rank (LoRA) with biases and scale 1. Entry 0 is the universal one, which every token has; the
    experts that no token has are not read.

    Args:
        input: (..., in), float64, float32, float16 or bfloat16; any strides. All sizes but the last count the tokens.
        weight: (out, in).
        bias: (out,) or None.
        lora_a: (E, r, in), E from 2 up. SemFi has E = 7 and r = 16.
        lora_b: (E, out, r).
        lora_a_bias: (E, r) or None.
        lora_b_bias: (E, out) or None. All weights, of any floating dtype, are rounded to that of `input`.
        expert: 1 to E - 1; or, for sequences packed one after another, a tensor (S,) of int64 or int32 on the device of
            `input`, an expert for each segment.
        segments: (S + 1,) of int64 or int32, with such a tensor: segment n is the tokens segments[n] to
            segments[n + 1] - 1, counted in the order of `input.flatten(0, -2)`. It goes up from 0 to the number of
            tokens; a segment may be empty. On a GPU the host does not read it: an expert out of range gives NaN there,
            and segments that do not go up undefined numbers.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (..., out) with the dtype of `input`, and its memory format. Sums are float32, or float64 for float64. In half
        precision input lora_a^T and what both adapters add are rounded before the whole is. Differentiable twice in all
        floating arguments; frozen ones (requires_grad False) cost nothing. The large products are torch's own, follow
        its float32 precision, and on the CPU their last bits may depend on the number of threads. Inside torch.autocast
        `input` and all weights are cast as linear casts them.

    Raises:
        ArgumentError: if a shape, dtype, device or expert is not one of the above; on the CPU also if a segment is not.

    Source:
        The adapters of SemFi (Hong et al., Semantic Frame Interpolation, arXiv 2507.05173, 2025); Hu et al., LoRA,
        arXiv 2106.09685, 2021, eq. 3; segments as in SGMV of Chen et al., Punica, arXiv 2310.18547, 2023.
    """
    expect_tensors(OP, input=input, weight=weight, lora_a=lora_a, lora_b=lora_b)
    expect_tensors_or_none(OP, bias=bias, lora_a_bias=lora_a_bias, lora_b_bias=lora_b_bias, segments=segments)
    refuse_forward_mode(OP, input, weight, bias, lora_a, lora_b, lora_a_bias, lora_b_bias)
    parameters = {"weight": weight, "bias": bias, "lora_a": lora_a, "lora_b": lora_b}
    parameters |= {"lora_a_bias": lora_a_bias, "lora_b_bias": lora_b_bias}
    for name, t in parameters.items():
        if t is not None:
            expect_floating(OP, name, t)
            expect(t.layout is torch.strided, OP, f"a dense tensor for {name}", t.layout)
    expect(input.layout is torch.strided, OP, "a dense tensor for input", input.layout)  # torch's products take others
    x = cast_for_autocast(input)
    weights = [None if t is None else t.to(x.dtype) for t in parameters.values()]
    return _mixture_lora(x, *weights, *_choice(expert, segments), allow_tf32())


def _choice(expert: int | Tensor, segments: Tensor | None) -> tuple[int, Tensor | None, Tensor | None]:
    """expert, experts and segments of the op: one expert for all tokens, or 0 and int64 tensors."""
    if not isinstance(expert, Tensor):
        expect_integer(OP, "expert", expert)
        if segments is not None:  # the text would break a traced graph
            expect(False, OP, "segments with a tensor of experts, and only then", f"expert {expert}")
        return expert if isinstance(expert, torch.SymInt) else int(expert), None, None
    for name, t in (("expert", expert), ("segments", segments)):
        if t is not None:
            expect(t.dtype in INDICES, OP, f"{name} of dtype int64 or int32", dtype_name(t))
    return 0, expert.to(torch.int64), None if segments is None else segments.to(torch.int64)


@register_fake("mixture_lora")
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, lora_a: Tensor, lora_b: Tensor, lora_a_bias: Tensor | None,
    lora_b_bias: Tensor | None, expert: int, experts: Tensor | None, segments: Tensor | None, allow_tf32: bool,
) -> Tensor:  # fmt: skip
    reference.check(x, weight, bias, lora_a, lora_b, lora_a_bias, lora_b_bias, expert, experts, segments)
    return empty_result(x, (*x.shape[:-1], weight.shape[0]))


@register_fake("mixture_lora_grad")
def _(
    grad_out: Tensor, x: Tensor, weight: Tensor, lora_a: Tensor, lora_b: Tensor, lora_a_bias: Tensor | None,
    expert: int, experts: Tensor | None, segments: Tensor | None, allow_tf32: bool, *needs: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    (entries, rank), out = lora_a.shape[:2], weight.shape[0]
    others = (weight.shape, (out,), lora_a.shape, lora_b.shape, (entries, rank), (entries, out))
    grad_x = empty_result(x) if needs[0] else not_needed(x)
    return grad_x, *(x.new_empty(size if need else (0,)) for size, need in zip(others, needs[1:]))


def _setup_context(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    x, weight, _, lora_a, lora_b, lora_a_bias, _, ctx.expert, experts, segments, ctx.allow_tf32 = inputs
    ctx.save_for_backward(x, weight, lora_a, lora_b, lora_a_bias, experts, segments)


def _backward(ctx: Context, grad_out: Tensor) -> Gradients:
    *tensors, experts, segments = ctx.saved_tensors
    refuse_forward_mode(OP, grad_out, *tensors)
    needed = ctx.needs_input_grad[:7]
    grads = _mixture_lora_grad(grad_out, *tensors, ctx.expert, experts, segments, ctx.allow_tf32, *needed)
    return *(g if n else None for g, n in zip(grads, needed)), None, None, None, None


register_differentiable("mixture_lora", _setup_context, _backward, register_looped_vmap)
register_second_derivative("mixture_lora_grad", reference.mixture_lora_grad, register_looped_vmap)
backends.implement("mixture_lora", reference.mixture_lora)
backends.implement("mixture_lora_grad", reference.mixture_lora_grad)
