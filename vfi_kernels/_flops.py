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


def adacof(image: Shape, weights: Shape, *_: object, **more: object) -> int:
    """What each tap reads, times its weight."""
    return 2 * image[1] * math.prod(weights)


def adacof_grad(grad_out: Shape, image: Shape, weights: Shape, *rest: bool, **more: object) -> int:
    """One product for what was read, one for the weights."""
    need_image, need_weights, need_vertical, need_horizontal = rest[-4:]
    return ((need_image or need_vertical or need_horizontal) + need_weights) * adacof(image, weights)


def correlation(
    first: Shape, second: Shape, sides: Shape = (), normalize: bool = True, cost: int = 0, *, out_shape: Shape,
    **more: object,
) -> int:  # fmt: skip
    """Of every displacement, output and pixel of its window."""
    return _correlated(out_shape, first, sides, cost)


def _correlated(out: Shape, first: Shape, sides: Shape = (), cost: int = 0) -> int:
    """The kernel's size is the second pair of sides; differences, cost 1, are no products."""
    return 0 if cost == 1 else 2 * math.prod(out) * first[1] * math.prod(sides[2:4])


def correlation_grad(
    grad_out: Shape, first: Shape, second: Shape, sides: Shape, normalize: bool, cost: int, need_first: bool,
    need_second: bool, **more: object,
) -> int:  # fmt: skip
    return (need_first + need_second) * _correlated(grad_out, first, sides, cost)


def correlation_lookup(first: Shape, *_: object, out_shape: Shape, **more: object) -> int:
    return _correlated(out_shape, first)


def correlation_lookup_grad(grad_out: Shape, first: Shape, *rest: bool, **more: object) -> int:
    """A product for each map; that of positions is the forward's."""
    need_first, need_second, _ = rest[-3:]
    return (need_first + need_second) * _correlated(grad_out, first)


def sepconv(image: Shape, vertical: Shape, horizontal: Shape, **more: object) -> int:
    """The rows of every window, then the column of their sums."""
    return 2 * image[1] * math.prod(vertical) * (horizontal[1] + 1)


def sepconv_grad(
    grad_out: Shape, image: Shape, vertical: Shape, horizontal: Shape, *needs: bool, **more: object
) -> int:
    """Two products for the rows, two for the column."""
    need_image, need_vertical, need_horizontal = needs
    rows, column = need_image + need_horizontal, need_vertical + (need_image or need_horizontal)
    return 2 * image[1] * math.prod(vertical) * (rows * horizontal[1] + column)


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
    **{f.__name__: f for f in (adacof, correlation, correlation_lookup, mixture_lora, sepconv)},
    **{
        f.__name__: f for f in (adacof_grad, correlation_grad, correlation_lookup_grad, mixture_lora_grad, sepconv_grad)
    },
    **{f.__name__: f for f in (modulated_deform_conv2d, modulated_deform_conv2d_grad)},
    **{f.__name__: f for f in (routed_conv2d, routed_conv2d_grad)},
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
