"""An exported program of torch as OpenVINO's model, for the few operators of which parts are made: OpenVINO's own
converter takes ten times as long, of which a model with many parts would take half a minute."""

import importlib
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from vfi.errors import dtype_name

if TYPE_CHECKING:
    import openvino

SAME = ("aten._assert_tensor_metadata.default", "aten.to.dtype")


class Untranslated(Exception):
    """A program has an operator, or an argument of one, that is none of those below."""


def translated(program: torch.export.ExportedProgram) -> "openvino.Model":
    """
    Raises:
        Untranslated, ImportError: the converter of OpenVINO must do it.
    """
    return Translation(program).model()


class Translation:
    """Of one program, whose sizes are fixed and whose values are float32."""

    def __init__(self, program: torch.export.ExportedProgram):
        self.program, self.ops = program, importlib.import_module("openvino.opset13")
        self.values: dict[torch.fx.Node, openvino.Node] = {}

    def model(self) -> "openvino.Model":
        signature, inputs, outputs = self.program.graph_signature, [], []
        own = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name in own:
                self.values[node] = self.constant(self.program.state_dict[own[node.name]])
            elif node.op == "placeholder":
                self.values[node] = self.ops.parameter(list(shape_of(node)), np.float32)
                inputs.append(self.values[node])
            elif node.op == "call_function":
                self.values[node] = self.translated(node)
            elif node.op == "output":
                outputs = [self.values[cast(torch.fx.Node, result)] for result in node.args[0]]
            else:
                raise Untranslated(node.op)
        model = importlib.import_module("openvino").Model(outputs, inputs, "part")
        return model

    def translated(self, node: torch.fx.Node) -> "openvino.Node":
        name, arguments = str(node.target), [self.value(argument) for argument in node.args]
        if name in SAME:
            return arguments[0]
        made = TABLE.get(name)
        if made is None or node.meta["val"].dtype != torch.float32 or set(node.kwargs) - {"value"}:
            raise Untranslated(name)
        arguments += [node.kwargs["value"]] if "value" in node.kwargs else []
        return made(self.ops, node, *arguments)

    def value(self, argument: object) -> object:
        """Nodes as OpenVINO's; numbers as they are."""
        if isinstance(argument, (list, tuple)):
            return [self.value(each) for each in argument]
        return self.values.get(argument) if isinstance(argument, torch.fx.Node) else argument

    def constant(self, tensor: Tensor) -> "openvino.Node":
        if tensor.dtype != torch.float32:
            raise Untranslated(dtype_name(tensor.dtype))
        return self.ops.constant(tensor.detach().numpy())


def shape_of(node: object) -> tuple[int, ...]:
    return tuple(cast(torch.fx.Node, node).meta["val"].shape)


def by_channel(ops: ModuleType, value: "openvino.Node") -> "openvino.Node":
    """(C,) -> (1, C, 1, 1)."""
    return ops.constant(value.data.reshape(1, -1, 1, 1))


def convolution(
    ops: ModuleType, node: torch.fx.Node, x: object, weight: "openvino.Node", bias: "openvino.Node | None" = None,
    stride: Sequence[int] = (1, 1), padding: Sequence[int] = (0, 0), dilation: Sequence[int] = (1, 1), groups: int = 1,
) -> "openvino.Node":  # fmt: skip
    if isinstance(padding, str):
        raise Untranslated("padding by a word")
    size = (stride, padding, padding, dilation)
    if groups == 1:
        result = ops.convolution(x, weight, *size)
    else:
        outputs, *rest = weight.data.shape
        result = ops.group_convolution(x, ops.constant(weight.data.reshape(groups, outputs // groups, *rest)), *size)
    return result if bias is None else ops.add(result, by_channel(ops, bias))


def transposed(
    ops: ModuleType, node: torch.fx.Node, x: object, weight: "openvino.Node", bias: "openvino.Node | None" = None,
    stride: Sequence[int] = (1, 1), padding: Sequence[int] = (0, 0), more: Sequence[int] = (0, 0), groups: int = 1,
    dilation: Sequence[int] = (1, 1),
) -> "openvino.Node":  # fmt: skip
    if groups != 1 or any(more):
        raise Untranslated("groups, or padding of the output")
    result = ops.convolution_backprop_data(
        x, weight, strides=stride, pads_begin=padding, pads_end=padding, dilations=dilation
    )
    return result if bias is None else ops.add(result, by_channel(ops, bias))


def prelu(ops: ModuleType, node: torch.fx.Node, x: object, slope: "openvino.Node") -> "openvino.Node":
    return ops.prelu(x, ops.constant(slope.data.reshape(-1)))


def leaky(ops: ModuleType, node: torch.fx.Node, x: object, slope: float = 0.01) -> "openvino.Node":
    return ops.prelu(x, ops.constant(np.array([slope], np.float32)))


def resized(
    ops: ModuleType, node: torch.fx.Node, x: object, size: object, corners: bool, factors: Sequence[float] | None = None
) -> "openvino.Node":
    before, after = shape_of(node.args[0])[2:], shape_of(node)[2:]
    if corners or (factors and not all(math.isclose(n * f, m) for n, f, m in zip(before, factors, after))):
        raise Untranslated("a size that is not a whole multiple")
    return ops.interpolate(
        x, list(after), "linear_onnx", "sizes", axes=[2, 3], coordinate_transformation_mode="half_pixel"
    )


def sliced(
    ops: ModuleType, node: torch.fx.Node, x: object, axis: int = 0, start: int | None = None, stop: int | None = None,
    step: int = 1,
) -> "openvino.Node":  # fmt: skip
    limit = shape_of(node.args[0])[axis]
    return ops.slice(
        x, *(ops.constant([n]) for n in (start or 0, limit if stop is None else min(stop, limit), step, axis))
    )


def arithmetic(name: str) -> "Callable[..., openvino.Node]":
    def made(ops: ModuleType, node: torch.fx.Node, x: object, y: object) -> "openvino.Node":
        return getattr(ops, name)(x, ops.constant(np.float32(y)) if isinstance(y, (int, float)) else y)

    return made


TABLE: "dict[str, Callable[..., openvino.Node]]" = {
    "aten.conv2d.default": convolution,
    "aten.conv_transpose2d.input": transposed,
    "aten.prelu.default": prelu,
    "aten.leaky_relu.default": leaky,
    "aten.leaky_relu_.default": leaky,
    "aten.upsample_bilinear2d.vec": resized,
    "aten.slice.Tensor": sliced,
    "aten.add.Tensor": arithmetic("add"),
    "aten.mul.Tensor": arithmetic("multiply"),
    "aten.div.Tensor": arithmetic("divide"),
    "aten.addcmul.default": lambda ops, node, x, y, z: ops.add(x, ops.multiply(y, z)),
    "aten.cat.default": lambda ops, node, parts, axis=0: ops.concat(parts, axis),
    "aten.sigmoid.default": lambda ops, node, x: ops.sigmoid(x),
    "aten.pixel_shuffle.default": lambda ops, node, x, n: ops.depth_to_space(x, "depth_first", n),
}
