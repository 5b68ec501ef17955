"""A linear layer with a universal and an expert adapter in plain PyTorch: the specification of the kernels."""

import torch
from torch import Tensor

from vfi_kernels._arguments import dtype_name, expect, expect_device, expect_floating, expect_like, shape
from vfi_kernels._results import accumulator, as_result, not_needed

OP = "mixture_lora"


def check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lora_a: Tensor,
    lora_b: Tensor,
    lora_a_bias: Tensor | None,
    lora_b_bias: Tensor | None,
    expert: int,
    experts: Tensor | None,
    segments: Tensor | None,
) -> None:
    """Raises ArgumentError unless the arguments fit each other; values of experts and segments are not looked at."""
    expect(x.dim() >= 1, OP, "input of shape (..., in)", shape(x))
    expect_floating(OP, "input", x)
    size = x.shape[-1]
    right = weight.dim() == 2 and weight.shape[1] == size
    expect(right, OP, f"weight of shape (out, {size}) for input of shape {shape(x)}", shape(weight))
    expect_like(OP, "weight", weight, x, "input")
    right = lora_a.dim() == 3 and lora_a.shape[0] >= 2 and lora_a.shape[2] == size
    expect(right, OP, f"lora_a of shape (E, r, {size}) with E from 2 up", shape(lora_a))
    expect_like(OP, "lora_a", lora_a, x, "input")
    out, (e, r) = weight.shape[0], lora_a.shape[:2]
    for name, t, sizes in (
        ("lora_b", lora_b, (e, out, r)),
        ("lora_a_bias", lora_a_bias, (e, r)),
        ("bias", bias, (out,)),
        ("lora_b_bias", lora_b_bias, (e, out)),
    ):
        if t is not None:
            expect(shape(t) == sizes, OP, f"{name} of shape {sizes}", shape(t))
            expect_like(OP, name, t, x, "input")
    if experts is None or segments is None:
        both = experts is None and segments is None
        present = "experts" if segments is None else "segments"
        expect(both, OP, "segments with a tensor of experts, and only then", f"{present} alone")
        expect(1 <= expert < e, OP, f"expert from 1 to {e - 1}", expert)
        return
    right = experts.dim() == 1 and experts.shape[0] >= 1
    expect(right, OP, "expert of shape (S,) with S from 1 up", shape(experts))
    for name, t, count in (("expert", experts, experts.shape[0]), ("segments", segments, experts.shape[0] + 1)):
        expect(shape(t) == (count,), OP, f"{name} of shape {(count,)}", shape(t))
        expect(t.dtype == torch.int64, OP, f"{name} of dtype int64", dtype_name(t))
        expect_device(OP, name, t, x, "input")


def mixture_lora(
    x: Tensor, weight: Tensor, bias: Tensor | None, lora_a: Tensor, lora_b: Tensor, lora_a_bias: Tensor | None,
    lora_b_bias: Tensor | None, expert: int, experts: Tensor | None, segments: Tensor | None, allow_tf32: bool,
) -> Tensor:  # fmt: skip
    """y = x W^T + b + sum over e in {0, expert} of s_e B_e^T + beta_e, s_e = x A_e^T + a_e."""
    check(x, weight, bias, lora_a, lora_b, lora_a_bias, lora_b_bias, expert, experts, segments)
    if experts is not None and segments is not None:
        check_values(x, lora_a.shape[0], experts, segments)
    acc = accumulator(x)
    rows = x.reshape(_tokens(x), x.shape[-1]).to(acc)
    y = _product(rows, weight.to(acc).mT)
    y = y if bias is None else y + bias.to(acc)
    for e, owned in _entries(x, lora_a.shape[0], expert, experts, segments):
        s = _shrunk(rows, lora_a, lora_a_bias, e)
        share = _product(s, lora_b[e].to(acc).mT)
        share = share if lora_b_bias is None else share + lora_b_bias[e].to(acc)
        y = y + _only(owned, share)
    return as_result(y.reshape(*x.shape[:-1], weight.shape[0]), x)


def mixture_lora_grad(
    grad_out: Tensor,
    x: Tensor,
    weight: Tensor,
    lora_a: Tensor,
    lora_b: Tensor,
    lora_a_bias: Tensor | None,
    expert: int,
    experts: Tensor | None,
    segments: Tensor | None,
    allow_tf32: bool,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
    need_lora_a: bool,
    need_lora_b: bool,
    need_lora_a_bias: bool,
    need_lora_b_bias: bool,
) -> tuple[Tensor, ...]:
    """With q_e = g B_e: grad_x = g W + sum of q_e A_e, grad_A_e = q_e^T x, grad_B_e = g^T s_e, and for the biases sums
    of q_e and g, all over the tokens that have the entry."""
    acc = accumulator(x)
    rows, g = (t.reshape(_tokens(x), t.shape[-1]).to(acc) for t in (x, grad_out))
    grad_x = _product(g, weight.to(acc))
    none = [torch.zeros_like(t[0], dtype=acc) for t in (lora_a, lora_b)]
    none += [g.new_zeros(lora_a.shape[1]), g.new_zeros(weight.shape[0])]
    grads = [[nothing] * lora_a.shape[0] for nothing in none]
    for e, owned in _entries(x, lora_a.shape[0], expert, experts, segments):
        own_rows, own_g = _only(owned, rows), _only(owned, g)
        s = _only(owned, _shrunk(own_rows, lora_a, lora_a_bias, e))
        q = _only(owned, _product(own_g, lora_b[e].to(acc)))
        grad_x = grad_x + _only(owned, _product(q, lora_a[e].to(acc)))
        expert_grads = (_product(q.mT, own_rows), _product(own_g.mT, s), q.sum(0), own_g.sum(0))
        for each, grad in zip(grads, expert_grads):
            each[e] = grad
    results = (grad_x.reshape(x.shape), _product(g.mT, rows), g.sum(0), *(torch.stack(each) for each in grads))
    owners = (x, weight, weight, lora_a, lora_b, lora_a, lora_b)
    needs = (need_x, need_weight, need_bias, need_lora_a, need_lora_b, need_lora_a_bias, need_lora_b_bias)
    return tuple(as_result(t, o) if need else not_needed(o) for t, o, need in zip(results, owners, needs))


def _product(a: Tensor, b: Tensor) -> Tensor:
    with torch.autocast(a.device.type, enabled=False):
        return a @ b


def _shrunk(rows: Tensor, lora_a: Tensor, lora_a_bias: Tensor | None, e: int) -> Tensor:
    """s_e = x A_e^T + a_e"""
    s = _product(rows, lora_a[e].to(rows.dtype).mT)
    return s if lora_a_bias is None else s + lora_a_bias[e].to(rows.dtype)


def _tokens(x: Tensor) -> int:
    return x.shape[:-1].numel()


def _entries(
    x: Tensor, entries: int, expert: int, experts: Tensor | None, segments: Tensor | None
) -> list[tuple[int, Tensor | None]]:
    """The entries in use, and which tokens have them, [T, 1]; None: all of them."""
    if experts is None or segments is None:
        return [(0, None), (expert, None)]
    tokens = torch.arange(_tokens(x), device=x.device)
    of_token = experts[torch.searchsorted(segments[1:].contiguous(), tokens, right=True)]
    return [(0, None), *((e, (of_token == e)[:, None]) for e in range(1, entries))]


def check_values(x: Tensor, entries: int, experts: Tensor, segments: Tensor) -> None:
    """Raises ArgumentError unless segments go up from 0 to the number of tokens, and experts are from 1 to E - 1."""
    tokens, ends = _tokens(x), segments.tolist()
    right = ends[0] == 0 and ends[-1] == tokens and ends == sorted(ends)
    expect(right, OP, f"segments that go up from 0 to {tokens}, the number of tokens", tuple(ends))
    for e in experts.tolist():
        expect(1 <= e < entries, OP, f"expert from 1 to {entries - 1}", e)


def _only(owned: Tensor | None, rows: Tensor) -> Tensor:
    """`rows`, 0 where the token has another entry: selected, never multiplied by 0."""
    return rows if owned is None else torch.where(owned, rows, 0)
