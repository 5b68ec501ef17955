"""What torch.utils.flop_counter.FlopCounterMode counts for the ops: as for torch's own the products of matrices and
convolutions, two operations for each multiply-accumulate, of the definition (not what a kernel does twice).

Ops without such products (warps, splats, trajectories, moved patches) count nothing, as grid_sample does.
"""

import importlib.abc
import importlib.util
import math
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch

Shape = Sequence[int]
MODULE = "torch.utils.flop_counter"


Pair = int | Sequence[int]


def _each(value: Pair) -> Sequence[int]:
    return (value, value) if isinstance(value, int) else value


def correlation(
    first: Shape, second: Shape, radius: Pair = 4, kernel_size: Pair = 1, stride: Pair = 1, padding: Pair = 0,
    dilation: Pair = 1, patch_dilation: Pair = 1, normalize: bool = True, cost: int = 0, **more: object,
) -> int:  # fmt: skip
    """Of every displacement, output and pixel of its window; differences (cost 1, "l1") are no products."""
    count = 2 * math.prod(first[:2]) * (cost == 0)
    for size, r, k, s, p, d in zip(first[2:], *map(_each, (radius, kernel_size, stride, padding, dilation))):
        count *= (2 * r + 1) * k * max((size + 2 * p - d * (k - 1) - 1) // s + 1, 0)
    return count


def correlation_grad(grad_out: Shape, first: Shape, second: Shape, *rest: bool, **more: object) -> int:
    *options, need_first, need_second = rest
    return (need_first + need_second) * correlation(first, second, *options)


def correlation_lookup(
    first: Shape, second: Shape, positions: Shape, radius: int = 4, levels: int = 4, **more: object
) -> int:
    return levels * correlation(first, second, radius)


def correlation_lookup_grad(
    grad_out: Shape, first: Shape, second: Shape, positions: Shape, radius: int, levels: int, need_first: bool,
    need_second: bool, *_: bool, **more: object,
) -> int:  # fmt: skip
    """A product for each map; that of positions is the forward's."""
    return (need_first + need_second) * correlation_lookup(first, second, positions, radius, levels)


def mixture_lora(x: Shape, weight: Shape, bias: Shape | None, lora_a: Shape, *_: object, **more: object) -> int:
    """The layer, and the two products of two adapters."""
    out, width = weight
    return 2 * math.prod(x[:-1]) * (out * width + 2 * lora_a[1] * (out + width))


def mixture_lora_grad(grad_out: Shape, x: Shape, weight: Shape, lora_a: Shape, *rest: bool, **more: object) -> int:
    """With h = x A^T: grad_h = g B, grad_A = grad_h^T x, grad_B = g^T h; grad_x of the layer and of both adapters."""
    need_x, need_weight, _, need_a, need_b, need_a_bias, _ = rest[-7:]
    (out, width), rank = weight, 2 * lora_a[1]
    layer = (need_x + need_weight) * out * width
    through = (need_x or need_a or need_a_bias) * rank * out
    adapters = (need_x + need_a) * rank * width + need_b * rank * out
    return 2 * math.prod(x[:-1]) * (layer + through + adapters)


def modulated_deform_conv2d(
    input: Shape, offset: Shape, mask: Shape | None, weight: Shape, *_: object, **more: object
) -> int:
    return 2 * math.prod(weight) * offset[0] * offset[2] * offset[3]


def modulated_deform_conv2d_grad(
    grad_out: Shape, input: Shape, offset: Shape, mask: Shape | None, weight: Shape, *rest: bool, **more: object
) -> int:
    """One product for what was sampled, one for the weights."""
    need_input, need_offset, need_mask, need_weight, _ = rest[-5:]
    sampled = need_input or need_offset or need_mask
    return (sampled + need_weight) * modulated_deform_conv2d(input, offset, mask, weight)


def routed_conv2d(
    x: Shape, weight: Shape, bias: Shape | None, indices: Shape, patch: int, stride: int, transposed: bool, *_: object,
    **more: object,
) -> int:  # fmt: skip
    """Of as many patches as the list has rows."""
    side = patch if transposed else patch // stride
    return 2 * math.prod(weight) * indices[0] * side**2


def routed_conv2d_grad(
    grad_out: Shape, x: Shape, weight: Shape, indices: Shape, patch: int, stride: int, transposed: bool, *rest: bool,
    **more: object,
) -> int:  # fmt: skip
    need_x, need_weight, _ = rest[-3:]
    return (need_x + need_weight) * routed_conv2d(x, weight, None, indices, patch, stride, transposed)


FORMULAS: dict[str, Callable[..., int]] = {
    **{f.__name__: f for f in (correlation, correlation_lookup, mixture_lora, modulated_deform_conv2d, routed_conv2d)},
    **{f.__name__: f for f in (correlation_grad, correlation_lookup_grad, mixture_lora_grad)},
    **{f.__name__: f for f in (modulated_deform_conv2d_grad, routed_conv2d_grad)},
    "routed_conv2d_": routed_conv2d,
}


def register(module: ModuleType) -> None:
    for op, formula in FORMULAS.items():
        module.register_flop_formula(getattr(torch.ops.vfi_kernels, op))(formula)


class _OnImport(importlib.abc.MetaPathFinder):
    """Registers as soon as torch's module is imported. It imports Triton: importing vfi_kernels must not."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            register(module)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def register_when_counting() -> None:
    if MODULE in sys.modules:
        register(sys.modules[MODULE])
    else:
        sys.meta_path.insert(0, _OnImport())
