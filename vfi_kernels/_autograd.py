"""Glue between an op's schema and torch: gradients, second derivatives, vmap, forward-mode refusal."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

from vfi_kernels._arguments import ArgumentError, expect
from vfi_kernels._options import taking_numbers
from vfi_kernels._types import Arguments, Context, Function, Gradients, Op, Ops, VmapInfo

Dims = Sequence[Any]  # where torch.vmap maps each argument: a number or None, of a list a list

NAMESPACE = "vfi_kernels"
CAPTURED = "a call or graph made from tensors that require a gradient (keep_weight=True)"
_library = torch.library.Library(NAMESPACE, "FRAGMENT")


def refuse_forward_mode(op: str, *tensors: Tensor | None) -> None:
    """Raises if a tensor carries a forward-mode tangent: an op with only a backward formula would drop it silently."""
    if forward_ad._current_level < 0:
        return
    for t in tensors:
        if t is not None and forward_ad.unpack_dual(t).tangent is not None:
            raise ArgumentError(f"{op}: expected no forward-mode (jvp) derivative, which is not there; use backward()")


def grad_needed(*tensors: Tensor | None) -> bool:
    """Whether autograd may ask for a gradient of an op applied to `tensors`. Under vmap a tensor does not tell, and
    torch.jit.trace makes one graph for all."""
    if torch.jit.is_tracing():
        return True
    if not torch.is_grad_enabled():
        return False
    return any(t is not None and (t.requires_grad or torch._C._functorch.is_batchedtensor(t)) for t in tensors)


def refuse_gradient(op: str, instead: str, *tensors: Tensor | None) -> None:
    """An op that writes into its argument has no gradient; without this it would be dropped silently."""
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        raise ArgumentError(f"{op}: expected tensors without requires_grad, or torch.no_grad(); use {instead}")
    refuse_forward_mode(op, *tensors)


def register_fake(op: str) -> Callable[[Function], Function]:
    """Decorator: the function, which takes the words of options, says what shapes `op` returns."""
    return lambda function: torch.library.register_fake(f"{NAMESPACE}::{op}", taking_numbers(op, function))


def register_in_place(op: str, instead: str) -> None:
    """Autograd and vmap of an op that writes into its last argument. What requires a gradient is refused also where the
    op is called by itself, or by a graph that was captured without one (torch.export, make_fx). As torch's own in-place
    ops, it counts the base's versions, by which autograd notices where it had saved what was there before, and writes
    into tensors of inference mode in that mode only, where torch leaves the second kernel out."""
    target = getattr(torch.ops.vfi_kernels, op).default
    instead += ", captured from tensors that require a gradient"

    def refuse_inference(base: Tensor) -> None:
        if base.is_inference() and not torch.is_inference_mode_enabled():
            expect(False, op, "a base that was not made in torch.inference_mode(), or to be called in it", "one of it")

    def counting(keyset: torch._C.DispatchKeySet, *args: Any) -> None:
        refuse_inference(args[-1])
        target.redispatch(keyset & torch._C._after_ADInplaceOrView_keyset, *args)
        torch.autograd.graph.increment_version(args[-1])

    def autograd(keyset: torch._C.DispatchKeySet, *args: Any) -> None:
        refuse_inference(args[-1])
        refuse_gradient(op, instead, *(a for a in args if isinstance(a, Tensor)))
        with torch._C._AutoDispatchBelowAutograd():
            if any(isinstance(a, Tensor) and a.is_neg() for a in args):
                # Copies without the negative bit: torch's own detour takes no op without a result.
                plain = [a.resolve_neg() if isinstance(a, Tensor) else a for a in args]
                target(*plain)
                args[-1].copy_(plain[-1])
            else:
                target.redispatch(keyset & torch._C._after_autograd_keyset, *args)

    _library.impl(op, autograd, "Autograd", with_keyset=True)
    _library.impl(op, counting, "ADInplaceOrView", with_keyset=True)
    register_looped_vmap(op)


def register_differentiable(
    op: str, setup_context: Function, backward: Function, register_vmap: Callable[[str], None] | None = None
) -> None:
    """Autograd of a forward op; `backward(ctx, *grads)` calls the op's native gradient kernel."""
    torch.library.register_autograd(f"{NAMESPACE}::{op}", backward, setup_context=setup_context)
    (register_vmap or register_folded_vmap)(op)


def register_second_derivative(op: str, formula: Function, register_vmap: Callable[[str], None] | None = None) -> None:
    """Autograd of a gradient op through `formula`, the same function in plain PyTorch. Third derivatives raise."""
    formula = taking_numbers(op, formula)

    def setup_context(ctx: Context, inputs: Arguments, output: object) -> None:
        flat, ctx.spec = pytree.tree_leaves(list(inputs)), pytree.tree_structure(list(inputs))
        ctx.places = [n for n, v in enumerate(flat) if isinstance(v, Tensor)]
        ctx.numbers = [isinstance(i, Sequence) and any(not isinstance(v, Tensor) for v in i) for i in inputs]
        ctx.rest = [None if isinstance(v, Tensor) else v for v in flat]
        ctx.save_for_backward(*(flat[n] for n in ctx.places))

    def flat_backward(ctx: Context, *grads: Tensor) -> tuple[Tensor, ...]:
        saved, rest, places, spec = ctx.saved_tensors, ctx.rest, ctx.places, ctx.spec
        moving = [n for n, t in enumerate(saved) if t.is_floating_point()]  # the others are lists of indices
        ctx.moving = [places[n] for n in moving]
        likes = [(g.shape, g.dtype, g.device) for g in grads]

        def pull(held: Sequence[Tensor], *grads: Tensor, record: bool = False) -> Sequence[Tensor]:
            """grads times the Jacobian of `formula` at `held`."""
            with torch.enable_grad():
                leaves, flat = [held[n].detach().requires_grad_() for n in moving], list(rest)
                moving_values = dict(zip(moving, leaves))
                for n, t in enumerate(held):
                    flat[places[n]] = moving_values.get(n, t)
                return _grad(pytree.tree_leaves(formula(*pytree.tree_unflatten(flat, spec))), leaves, grads, record)

        def push(held: Sequence[Tensor], *vectors: Tensor) -> Sequence[Tensor]:
            """The Jacobian times vectors: the derivative of `pull` in grads, in which it is linear."""
            anywhere = [torch.zeros(s, dtype=d, device=at, requires_grad=True) for s, d, at in likes]
            return _grad(pull(held, *anywhere, record=True), anywhere, vectors)

        refusing: Op = _NoThirdDerivative.apply
        linear: Ops = _Linear.apply
        guard = refusing(op, *saved)
        return linear(pull, push, guard, len(saved), *(t.detach() for t in saved), *grads)

    def backward(ctx: Context, *grads: object) -> Gradients:
        flat = flat_backward(ctx, *pytree.tree_leaves(list(grads)))
        grads_by_place = dict(zip(ctx.moving, flat))
        each = pytree.tree_unflatten([grads_by_place.get(n) for n in range(len(ctx.rest))], ctx.spec)
        return tuple(None if numbers else grad for grad, numbers in zip(each, ctx.numbers))

    torch.library.register_autograd(f"{NAMESPACE}::{op}", backward, setup_context=setup_context)
    (register_vmap or register_folded_vmap)(op)


def _itself(t: Tensor) -> Tensor:
    return t


def _grad(
    outs: Sequence[Tensor], leaves: Sequence[Tensor], grads: Sequence[Tensor], record: bool = False
) -> tuple[Tensor, ...]:
    """torch.autograd.grad with zeros where no output depends on a leaf."""
    pairs = [(o, g) for o, g in zip(outs, grads, strict=True) if o.requires_grad]
    outs, grads = [o for o, _ in pairs], [g for _, g in pairs]
    return torch.autograd.grad(outs, leaves, grads, create_graph=record, materialize_grads=True)


class _NoThirdDerivative(torch.autograd.Function):
    """A scalar that depends on `tensors` as far as autograd knows; to differentiate by them raises. (torch's
    once_differentiable cuts its results off from the inputs, so that torch.autograd.grad would leave their share out
    without a word.)"""

    @staticmethod
    def forward(ctx: Context, op: str, *tensors: Tensor) -> Tensor:
        ctx.op = op
        return torch.zeros(())

    @staticmethod
    def backward(ctx: Context, *grads: Tensor) -> Gradients:
        raise RuntimeError(f"{ctx.op}: expected at most second derivatives, got a third")


class _Linear(torch.autograd.Function):
    """forward(held, *vectors), a linear map of the vectors, whose transpose is `transposed`. The map's own derivative,
    in `held`, is that of `guard`."""

    @staticmethod
    def forward(
        ctx: Context, forward: Function, transposed: Function, guard: Tensor, count: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.maps, ctx.count = (forward, transposed), count
        held, vectors = tensors[:count], tensors[count:]
        ctx.save_for_backward(guard, *held)
        with torch.autograd.graph.saved_tensors_hooks(_itself, _itself):  # of a graph that ends here
            return tuple(forward(held, *vectors))

    @staticmethod
    def backward(ctx: Context, *grads: Tensor) -> Gradients:
        guard, *held = ctx.saved_tensors
        linear: Ops = _Linear.apply
        second_grads = linear(*reversed(ctx.maps), guard, ctx.count, *held, *grads)
        return None, None, torch.zeros_like(guard), None, *(None for _ in held), *second_grads


def register_folded_vmap(op: str) -> None:
    """vmap by folding the mapped dimension into the batch: (N, B, ...) -> (N B, ...); every sample is independent."""

    def vmap(info: VmapInfo, in_dims: Dims, *args: Any) -> tuple[object, object]:
        n = info.batch_size

        def fold(value: object, dim: Any) -> object:
            if isinstance(value, Sequence):
                return [fold(v, d) for v, d in zip(value, dim)]
            if not isinstance(value, Tensor):
                return value
            mapped = value.expand(n, *value.shape) if dim is None else value.movedim(dim, 0)
            return mapped.reshape(0 if value.numel() == 0 and value.dim() == 1 else -1, *mapped.shape[2:])

        def unfold(value: Tensor) -> Tensor:
            return value.unflatten(0, (n, -1)) if value.dim() == 4 else value

        folded = [fold(value, dim) for value, dim in zip(args, in_dims)]
        results = getattr(torch.ops.vfi_kernels, op).default(*folded)
        out_dims = pytree.tree_map(lambda t: 0 if t.dim() == 4 else None, results)
        return pytree.tree_map(unfold, results), out_dims

    torch.library.register_vmap(f"{NAMESPACE}::{op}", vmap)


def register_looped_vmap(op: str) -> None:
    """vmap by one call for each index: for ops with arguments that samples share, weights above all; and for those
    that write into their last argument, which must be mapped then."""

    def vmap(info: VmapInfo, in_dims: Dims, *args: Any) -> tuple[object, object]:
        if op.endswith("_"):
            expect(in_dims[-1] is not None, op, "under vmap a base that is mapped too", "one that all samples share")

        def call(n: int) -> Any:
            chosen = [
                a.select(dim, n) if isinstance(a, Tensor) and dim is not None else a for a, dim in zip(args, in_dims)
            ]
            return getattr(torch.ops.vfi_kernels, op).default(*chosen)

        if info.batch_size == 0:  # the shapes are those of any element
            args = tuple(
                a if dim is None or not isinstance(a, Tensor) else a.sum(dim, True) for a, dim in zip(args, in_dims)
            )
        results = [call(n) for n in range(max(info.batch_size, 1))]
        if results[0] is None:
            return None, None
        if isinstance(results[0], Tensor):
            return torch.stack(results)[: info.batch_size], 0
        return tuple(torch.stack(r)[: info.batch_size] for r in zip(*results)), tuple(0 for _ in results[0])

    torch.library.register_vmap(f"{NAMESPACE}::{op}", vmap)
