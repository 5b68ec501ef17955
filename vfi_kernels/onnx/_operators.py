"""Each op as one node of the domain `vfi_kernels`, for engines that have the op itself."""

import onnx_ir as ir
import torch
from onnxscript import evaluator

from vfi_kernels._types import Foreign, Function
from vfi_kernels.onnx._values import DOMAIN, TRANSLATIONS, Several, Value, op, typed


def operators() -> dict[Function, Function]:
    """For the argument `custom_translation_table` of torch.onnx.export: instead of standard operators every op becomes
    one node. Its type is the op's name in torch.ops.vfi_kernels, its inputs are the tensors of the schema in their
    order, a list one by one, its attributes the other arguments under their names, options as the numbers of the
    schema; what is None is left out."""
    return {getattr(torch.ops.vfi_kernels, name).default: _operator(name) for name in TRANSLATIONS}


def _operator(name: str) -> Function:
    schema: Foreign = getattr(torch.ops.vfi_kernels, name).default._schema

    def translation(*values: Value) -> Value:
        inputs: list[Value] = []
        attributes: dict[str, Foreign] = {}
        listed: list[Value] = []
        for argument, value in zip(schema.arguments, values):
            if str(argument.type) == "List[Tensor]":
                listed = value
                inputs += value
            elif isinstance(value, ir.Value) or "Tensor" in str(argument.type):
                inputs.append(value)
            elif value is not None:
                attributes[argument.name] = int(value) if isinstance(value, bool) else value
        lists = "List" in str(schema.returns[0].type)
        count = len(schema.returns) - lists + len(listed) * lists
        node = ir.node(name, inputs, attributes, domain=DOMAIN, num_outputs=count)
        recorder: Foreign = evaluator.default()
        recorder.nodes.append(node)
        results = [op.Identity(value) for value in node.outputs]  # as the exporter's own values, which have operators
        if lists:
            outs = [typed(out, value, batch=None) for out, value in zip(results, listed)]
            return [Several(outs), *results[len(listed) :]]
        return results if len(results) > 1 else results[0]

    return translation
