"""What the ops that multiply by weights have in common: integer pairs, autocast, float32 precision, activations."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels import _autocast as autocast
from vfi_kernels._arguments import INTEGERS, expect, expect_choice

ACTIVATIONS = ("relu", "prelu")


def pair(op: str, name: str, value: int | Sequence[int], least: int) -> list[int]:
    """One integer, or one or two in a sequence (vertical, horizontal), as a list of two that are `least` or more."""
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    right = len(values) in (1, 2) and all(isinstance(v, INTEGERS) and v >= least for v in values)
    expect(right, op, f"{name} of one or two integers from {least} up", value)
    return [v if isinstance(v, (int, torch.SymInt)) else int(v) for v in (values[0], values[-1])]


def cast_for_autocast(x: Tensor, result: torch.dtype | None = None) -> Tensor:
    """Inside torch.autocast what conv2d would cast is cast to its dtype: all but float64. Where the result goes into a
    tensor of dtype `result`, only if that is the one."""
    if x.dtype == torch.float64 or not autocast.enabled(x):
        return x
    dtype = torch.get_autocast_dtype(x.device.type)
    return x.to(dtype) if result is None or result == dtype else x


def allow_tf32() -> bool:
    """Whether torch's float32 precision settings let a product of float32 matrices on a GPU round its factors."""
    return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")


# What torch.compiler.assume_constant_result does, without its import of the whole compiler: it cannot look inside.
allow_tf32._dynamo_marked_constant = True  # type: ignore[attr-defined]


def check_activation(
    op: str, activation: str | None, activation_weight: Tensor | None, choices: tuple[str, ...] = ACTIVATIONS
) -> None:
    if activation is not None:
        expect_choice(op, "activation", activation, choices)
    has_weight, needed = activation_weight is not None, activation == "prelu"
    expect(has_weight == needed, op, "an activation_weight with activation 'prelu', and only then", repr(activation))


def activate(
    x: Tensor, activation: str | None, activation_weight: Tensor | None, negative_slope: float = 0.01
) -> Tensor:
    """The activation as ops of its own, for where its gradient is needed."""
    if activation == "relu":
        return x.relu()
    if activation == "leaky_relu":
        return F.leaky_relu(x, negative_slope)
    if activation == "gelu":
        return F.gelu(x)
    return x if activation_weight is None else F.prelu(x, activation_weight)
