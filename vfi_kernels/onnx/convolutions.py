"""modulated_deform_conv2d: DeformConv. mixture_lora: MatMul."""

from collections.abc import Sequence

from vfi_kernels._options import ACTIVATIONS
from vfi_kernels.onnx._values import (
    INT64,
    Value,
    as_dtype_of,
    constant,
    counted,
    expect_opset,
    finite,
    known,
    note,
    op,
    op19,
    part,
    reshaped,
    size,
    sizes,
    translates,
    wide,
)
from vfi_kernels.ops._shared.reference_math.bilinear import FAR

DEFORM = "modulated_deform_conv2d"


@translates(DEFORM, opset=19)
def modulated_deform_conv2d(
    input: Value, offset: Value, mask: Value | None, weight: Value, bias: Value | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], groups: int, offset_groups: int, activation: int,
    activation_weight: Value | None, edge: int, allow_tf32: bool,
) -> Value:  # fmt: skip
    """`edge` is of gradients alone."""
    expect_opset(DEFORM)
    note(DEFORM, "DeformConv multiplies pixels and masks that are not finite by weights of 0, which gives NaN")
    moves = wide(offset)
    out = op19.DeformConv(
        wide(input),
        wide(weight),
        op.Where(finite(moves), moves, float(-FAR)),  # reads nothing
        None if bias is None else wide(bias),
        None if mask is None else wide(mask),
        strides=list(stride),
        pads=[*padding, *padding],
        dilations=list(dilation),
        group=groups,
        offset_group=offset_groups,
    )
    if activation == ACTIVATIONS["relu"]:
        out = op.Relu(out)
    if activation_weight is not None:
        out = op.PRelu(out, reshaped(wide(activation_weight), -1, 1, 1))
    return as_dtype_of(input, out)


@translates("mixture_lora")
def mixture_lora(
    input: Value, weight: Value, bias: Value | None, lora_a: Value, lora_b: Value, lora_a_bias: Value | None,
    lora_b_bias: Value | None, expert: int | Value, experts: Value | None, segments: Value | None, allow_tf32: bool,
) -> Value:  # fmt: skip
    """y = x W^T + b + sum over e in {0, expert} of s_e B_e^T + beta_e, s_e = x A_e^T + a_e."""
    rows = reshaped(wide(input), -1, size(input, len(input.shape) - 1))
    adapters = [None if t is None else wide(t) for t in (lora_a, lora_b, lora_a_bias, lora_b_bias)]
    y = product(rows, wide(weight))
    y = y if bias is None else y + wide(bias)
    y = y + share(rows, adapters, 0)
    if experts is None or segments is None:
        y = y + share(rows, adapters, expert)
    else:
        owner = owners(rows, experts, segments)
        for e in range(1, known(lora_a, 0, "mixture_lora", "the number of adapters")):
            y = y + op.Where(op.Equal(owner, e), share(rows, adapters, e), 0.0)
    return as_dtype_of(input, reshaped(y, sizes(input, 0, -1), size(weight, 0)))


def product(rows: Value, weight: Value) -> Value:
    return op.MatMul(rows, op.Transpose(weight, perm=[1, 0]))


def share(rows: Value, adapters: Sequence[Value | None], expert: int | Value) -> Value:
    """What one adapter adds."""
    a, b, a_bias, b_bias = (None if t is None else op.Gather(t, expert, axis=0) for t in adapters)
    s = product(rows, a)
    added = product(s if a_bias is None else s + a_bias, b)
    return added if b_bias is None else added + b_bias


def owners(rows: Value, experts: Value, segments: Value) -> Value:
    """(T, 1): the expert of every token, whose segment is the number of segments that end before it."""
    token = op.Unsqueeze(counted(sizes(rows, 0, 1)), constant(1))
    ended = op.GreaterOrEqual(token, op.Unsqueeze(part(segments, 0, 1), constant(0)))
    segment = op.ReduceSum(op.Cast(ended, to=INT64), constant(1), keepdims=1)
    return op.Gather(experts, segment, axis=0)
