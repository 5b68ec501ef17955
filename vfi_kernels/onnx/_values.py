"""What the translations share: the table, and values of an ONNX graph.

A translation is a function of an op's arguments: tensors as values of the graph that is being made, options as the
numbers of vfi_kernels/_options.py. It is written in operators of opset 18, the oldest that torch exports to. It
computes in float32 whatever the dtype of its arguments, as the kernels do, and in int64 what is counted. ONNX divides
integers towards 0: no negative number is divided."""

import warnings
from collections.abc import Callable, Sequence

import onnx_ir as ir
from onnxscript import evaluator, onnx_opset

from vfi_kernels._arguments import expect
from vfi_kernels._types import Foreign, Function

op: Foreign = onnx_opset.opset18
op19: Foreign = onnx_opset.opset19
Value = Foreign  # of an ONNX graph: torch's SymbolicTensor, which has operators
DOMAIN = "vfi_kernels"
OLDEST = 18  # opset that torch exports to
FLOAT, INT64, INT32 = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.INT32
TO_THE_END = 2**63 - 1
TRANSLATIONS: dict[str, Function] = {}  # op -> translation
OPSETS: dict[str, int] = {}  # op -> the oldest opset that has its operators


class Several(list[Value]):
    """A result that is a list of tensors: the exporter asks every result for these two."""

    name = ""

    def producer(self) -> None:
        return None


def translates(name: str, opset: int = OLDEST) -> Callable[[Function], Function]:
    """Decorator: the function is the translation of the op `name`, into operators that are there from `opset` on."""

    def add(function: Function) -> Function:
        TRANSLATIONS[name], OPSETS[name] = function, opset
        return function

    return add


def expect_opset(name: str) -> None:
    """Raises ArgumentError where the export is to an older opset than the op needs; it is also a warning, since torch
    says a page of its own around what is raised."""
    recorder: Foreign = evaluator.default()
    asked, expected = recorder.opset.version, f"an opset_version from {OPSETS[name]} up"
    if asked < OPSETS[name]:
        note(name, f"expected {expected}, got {asked}")
    expect(asked >= OPSETS[name], name, expected, asked)


def note(name: str, sentence: str) -> None:
    """Says which rule of an op its operators do not have."""
    warnings.warn(f"{name} in ONNX: {sentence}", stacklevel=2)


def typed(value: Value, like: Value, dtype: ir.DataType | None = None, batch: int | None = 0) -> Value:
    """`value`, known to have the sizes of `like` (but for the first if `batch` is None), and its dtype or `dtype`."""
    value.shape = like.shape if batch == 0 else ir.Shape([None, *like.shape[1:]])
    value.dtype = like.dtype if dtype is None else dtype
    return value


def wide(value: Value) -> Value:
    """float32."""
    if value.dtype == FLOAT:
        return value
    if value.dtype == ir.DataType.DOUBLE:
        warnings.warn("vfi_kernels in ONNX: what is float64 is computed in float32", stacklevel=2)
    return typed(op.Cast(value, to=FLOAT), value, FLOAT)


def as_dtype_of(like: Value, value: Value) -> Value:
    """float32 `value` in the dtype of `like`, an argument of the op."""
    return value if like.dtype == FLOAT else op.CastLike(value, like)


def size(value: Value, axis: int) -> Value:
    """(1,) int64: how long a value is along an axis."""
    known = None if value.shape is None else value.shape[axis]
    return constant(known) if isinstance(known, int) else op.Shape(value, start=axis, end=axis + 1)


def sizes(value: Value, begin: int, end: int | None = None) -> Value:
    return op.Shape(value, start=begin, end=end)


def known(value: Value, axis: int, name: str, what: str) -> int:
    """A size that the graph is made for."""
    count = value.shape[axis]
    expect(isinstance(count, int), name, f"{what} to be a number when it is exported", "a size that may change")
    return int(count)


def same_size(first: Value, second: Value, *axes: int) -> bool:
    """Whether it is known to be."""
    return all(first.shape[axis] == second.shape[axis] for axis in axes)


def constant(*numbers: int) -> Value:
    """(n,) int64"""
    return op.Constant(value_ints=list(numbers))


def number(count: Value) -> Value:
    """() float32, from (1,) int64."""
    return op.Cast(op.Squeeze(count), to=FLOAT)


def counted(count: Value) -> Value:
    """0, 1 ... count - 1, int64, from (1,) int64."""
    return op.Range(0, op.Squeeze(count), 1)


def steps(count: Value, *shape: int) -> Value:
    """0, 1 ... count - 1 as float32, in a shape with one -1."""
    return op.Reshape(op.Cast(counted(count), to=FLOAT), constant(*shape))


def shaped(*sides: int | Value) -> Value:
    """A shape: each a number, or several as a value (n,)."""
    parts = [constant(side) if isinstance(side, int) else side for side in sides]
    return op.Concat(*parts, axis=0) if len(parts) > 1 else parts[0]


def part(value: Value, axis: int, begin: int | Value, end: int | Value = TO_THE_END) -> Value:
    """value[begin:end] along an axis."""
    return op.Slice(value, shaped(begin), shaped(end), constant(axis))


def reshaped(value: Value, *sides: int | Value) -> Value:
    """One side may be -1."""
    return op.Reshape(value, shaped(*sides))


def filled(what: float, *sides: int | Value) -> Value:
    """float32 of one value."""
    return op.ConstantOfShape(shaped(*sides), value=ir.tensor([what], dtype=FLOAT))


def total(values: Sequence[Value]) -> Value:
    result = values[0]
    for value in values[1:]:
        result = op.Add(result, value)
    return result


def both(*conditions: Value) -> Value:
    result = conditions[0]
    for condition in conditions[1:]:
        result = op.And(result, condition)
    return result


def within(at: Value, count: Value) -> Value:
    """Whether 0 <= at < count, float32 both."""
    return op.And(op.GreaterOrEqual(at, 0.0), op.Less(at, count))


def finite(value: Value) -> Value:
    return op.Not(op.Or(op.IsNaN(value), op.IsInf(value)))


def split(flow: Value) -> tuple[Value, Value, Value]:
    """Whole pixels, fraction, and 1 - fraction to its own last bit: bilinear.py's `split`, of finite numbers."""
    floor = op.Floor(flow)
    fraction = flow - floor
    up = op.Equal(fraction, 1.0)  # -1e-30 + 1 rounds to 1: the position is the next pixel
    whole, fraction = op.Where(up, floor + 1.0, floor), op.Where(up, 0.0, fraction)
    return whole, fraction, op.Where(op.Equal(fraction, 0.0), 1.0, floor + 1.0 - flow)
