"""A linear layer with a universal and an expert adapter, in Triton; the large products are torch's own."""

import torch
from torch import Tensor

from vfi_kernels._results import as_result, not_needed
from vfi_kernels.ops.mixture_lora import reference
from vfi_kernels.ops.mixture_lora.triton_adapters import Adapters


def mixture_lora(
    x: Tensor, weight: Tensor, bias: Tensor | None, lora_a: Tensor, lora_b: Tensor, lora_a_bias: Tensor | None,
    lora_b_bias: Tensor | None, expert: int, experts: Tensor | None, segments: Tensor | None, allow_tf32: bool,
) -> Tensor:  # fmt: skip
    """y = x W^T + b + sum over e in {0, expert} of s_e B_e^T + beta_e, s_e = x A_e^T + a_e."""
    reference.check(x, weight, bias, lora_a, lora_b, lora_a_bias, lora_b_bias, expert, experts, segments)
    adapters = Adapters(x, lora_a, (expert, experts, segments), allow_tf32)
    rows = x.reshape(adapters.tokens, x.shape[-1]).contiguous()
    s = adapters.shrink(rows, lora_a, lora_a_bias)
    out = adapters.expand(s, lora_b.mT, bias, lora_b_bias).addmm_(rows, weight.mT)
    return as_result(out.reshape(*x.shape[:-1], weight.shape[0]), x)


def mixture_lora_grad(
    grad_out: Tensor, x: Tensor, weight: Tensor, lora_a: Tensor, lora_b: Tensor, lora_a_bias: Tensor | None,
    expert: int, experts: Tensor | None, segments: Tensor | None, allow_tf32: bool, *needs: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """With q_e = g B_e: grad_x = g W + sum of q_e A_e; the others are products of transposed rows, and sums of rows."""
    need_x, need_weight, need_bias, need_a, need_b, need_a_bias, need_b_bias = needs
    adapters = Adapters(x, lora_a, (expert, experts, segments), allow_tf32)
    rows, g = (t.reshape(adapters.tokens, t.shape[-1]).contiguous() for t in (x, grad_out))
    grad_x = grad_weight = grad_bias = not_needed(x)
    sizes = (lora_a.shape, lora_b.shape, lora_a.shape[:2], lora_b.shape[:2])
    grad_a, grad_b, grad_a_bias, grad_b_bias = (
        x.new_empty(size) if need else not_needed(x) for size, need in zip(sizes, needs[3:])
    )
    if need_x or need_a or need_a_bias:
        q = adapters.shrink(g, lora_b.mT, None)
        if need_x:
            grad_x = as_result(adapters.expand(q, lora_a).addmm_(g, weight).reshape(x.shape), x)
        if need_a:
            adapters.gradient(q, rows, grad_a)
        if need_a_bias:
            adapters.gradient(q, None, grad_a_bias[..., None])
    if need_b:
        adapters.gradient(adapters.shrink(rows, lora_a, lora_a_bias), g, grad_b.mT)
    if need_b_bias:
        adapters.gradient(None, g, grad_b_bias[:, None])
    if need_weight:
        grad_weight = torch.mm(g.mT, rows, out=torch.empty_like(weight, memory_format=torch.contiguous_format))
    if need_bias:
        grad_bias = torch.sum(g, 0, out=x.new_empty(weight.shape[0]))
    return grad_x, grad_weight, grad_bias, grad_a, grad_b, grad_a_bias, grad_b_bias
