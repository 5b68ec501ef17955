"""What the translations share: the table, and values of an ONNX graph.

A translation is a function of an op's arguments, tensors as values of the graph that is being made, options as numbers
(vfi_kernels/_options.py). It is written in operators of opset 18, the oldest that torch exports to. Everything is
computed in float32, whatever the dtype of the arguments is, as the kernels do; indices are int64."""

import warnings
from collections.abc import Callable

import onnx_ir as ir
from onnxscript import evaluator
from onnxscript.onnx_opset import opset18 as op

from vfi_kernels._arguments import expect
from vfi_kernels._types import Foreign, Function

Value = Foreign  # of an ONNX graph: torch's SymbolicTensor, which has operators
OLDEST = 18  # opset that torch exports to
FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64
TRANSLATIONS: dict[str, Function] = {}  # op -> translation
OPSETS: dict[str, int] = {}  # op -> the oldest opset that has its operators


def translates(name: str, opset: int = OLDEST) -> Callable[[Function], Function]:
    """Decorator: the function is the translation of the op `name`."""

    def add(function: Function) -> Function:
        TRANSLATIONS[name], OPSETS[name] = function, opset
        return function

    return add


def expect_opset(name: str) -> None:
    """Raises ArgumentError where the export asks for an older opset than the op needs."""
    asked = evaluator.default().opset.version
    expect(asked >= OPSETS[name], name, f"an opset_version from {OPSETS[name]} up", asked)


def note(name: str, sentence: str) -> None:
    """Says which rule of an op its operators do not have."""
    warnings.warn(f"{name} in ONNX: {sentence}", stacklevel=2)


def wide(value: Value) -> Value:
    """float32; its sizes stay known."""
    if value.dtype == FLOAT:
        return value
    cast = op.Cast(value, to=FLOAT)
    cast.shape, cast.dtype = value.shape, FLOAT
    return cast


def as_dtype_of(like: Value, value: Value) -> Value:
    """float32 `value` in the dtype of `like`, an argument of the op."""
    return value if like.dtype == FLOAT else op.CastLike(value, like)


def size(value: Value, axis: int) -> Value:
    """(1,) int64: how long an argument is along an axis."""
    known = value.shape[axis]
    return op.Constant(value_ints=[known]) if isinstance(known, int) else op.Shape(value, start=axis, end=axis + 1)


def number(count: Value) -> Value:
    """() float32, from (1,) int64."""
    return op.Cast(op.Squeeze(count), to=FLOAT)


def steps(count: Value, *shape: int) -> Value:
    """0, 1 ... count - 1 as float32, in a shape with one -1."""
    numbers = op.Range(0, op.Squeeze(count), 1)
    return op.Reshape(op.Cast(numbers, to=FLOAT), op.Constant(value_ints=list(shape)))


def part(value: Value, axis: int, begin: int, end: int) -> Value:
    """value[begin:end] along an axis."""
    return op.Slice(value, [begin], [end], [axis])
