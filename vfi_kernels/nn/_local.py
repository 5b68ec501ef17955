"""Which functions of torch are of single pixels, and by which rule what they make is known."""

import operator
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels._types import Function
from vfi_kernels.nn._rules import (
    ALONG,
    along,
    assigned,
    broadcast,
    channels,
    dropout,
    evaluated_norm,
    expanded,
    indexed,
    joined,
    layer_norm,
    linear,
    moved,
    parts,
    permuted,
    prelu,
    reshaped,
    same,
    squeezed,
    transposed,
    words,
)

POINTWISE = words("""
abs absolute acos acosh add addcdiv addcmul arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2
atanh bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min clip copysign cos cosh deg2rad
div divide elu eq erf erfc erfinv exp exp2 expm1 fix float_power floor floor_divide fmax fmin fmod frac ge gelu greater
greater_equal gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot isfinite isinf isnan le leaky_relu lerp less
less_equal log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor logit logsigmoid lt
masked_fill maximum minimum mish mul multiply nan_to_num ne neg negative not_equal pow positive rad2deg
reciprocal relu relu6 remainder round rsqrt rsub selu sgn sigmoid sign silu sin sinc sinh softplus softshrink softsign
sqrt square sub subtract tan tanh tanhshrink threshold true_divide trunc where xlogy
__add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __div__ __rdiv__ __pow__ __rpow__ __neg__
__pos__ __abs__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __and__ __or__ __xor__ __invert__ __rand__ __ror__ __rxor__
__iadd__ __isub__ __imul__ __itruediv__ __idiv__ __mod__ __rmod__ __floordiv__ __rfloordiv__ __iand__ __ior__ __ixor__
__ipow__ __imod__
""")
SAME = words("""
bfloat16 bool clone contiguous cpu detach double float full_like half identity int long ones_like requires_grad_
to type zeros_like alias
""")
RULES: dict[str, Function] = {
    **dict.fromkeys(POINTWISE, broadcast),
    **dict.fromkeys([n + "_" for n in POINTWISE if not n.endswith("_")], broadcast),
    **dict.fromkeys(SAME, same),
    **dict.fromkeys(ALONG, along),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), joined),
    **dict.fromkeys(("chunk", "split", "tensor_split", "unbind", "select", "narrow"), parts),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), transposed),
    **dict.fromkeys(("squeeze", "unsqueeze"), squeezed),
    **dict.fromkeys(("layer_norm", "rms_norm"), layer_norm),
    **dict.fromkeys(("linear", "matmul", "__matmul__"), linear),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten"), reshaped),
    **dict.fromkeys(words("dropout dropout2d feature_dropout alpha_dropout feature_alpha_dropout rrelu"), dropout),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle", "pixel_shuffle", "pixel_unshuffle"), channels),
    **dict.fromkeys(("movedim", "moveaxis"), moved),
    "__getitem__": indexed, "__setitem__": assigned, "batch_norm": evaluated_norm, "expand": expanded,
    "permute": permuted, "prelu": prelu,
}  # fmt: skip
QUERIES = words("""
__len__ dim element_size get_device is_complex is_contiguous is_floating_point is_same_size ndimension nelement numel
size stride
""")
PROPERTIES = words("device dtype grad_fn is_cpu is_cuda is_leaf is_sparse itemsize layout ndim requires_grad shape")


def _found(names: Iterable[str]) -> dict[object, str]:
    """torch's functions and methods of these names."""
    names_by_function = {}
    for name in names:
        for owner in (Tensor,) if name.startswith("__") else (F, torch, Tensor, torch.linalg, torch._C._nn, torch._VF):
            function = getattr(owner, name, None)
            if callable(function) and not isinstance(function, (torch.dtype, type)):
                names_by_function[function] = name
    return names_by_function


NAMED = _found(RULES)
# What torch.compile calls for an operator.
NAMED.update({getattr(operator, n): n for n in (*POINTWISE, "__getitem__", "__matmul__") if hasattr(operator, n)})
ASKS = frozenset([*_found(QUERIES), *(getattr(Tensor, name).__get__ for name in PROPERTIES)])
# What torch marks as nondeterministic_seeded; tests/test_nn_local.py compares.
DRAWS = words("""
alpha_dropout bernoulli binomial cauchy dropout dropout1d dropout2d dropout3d exponential feature_alpha_dropout
feature_dropout geometric log_normal multinomial native_dropout normal poisson rand rand_like randint randint_like
randn randn_like random randperm rrelu rrelu_with_noise uniform
""")
RANDOM = frozenset(_found([*DRAWS, *(n + "_" for n in DRAWS)]))
