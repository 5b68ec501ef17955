"""The ops of vfi_kernels in ONNX: imported, this makes `torch.onnx.export(model, ..., dynamo=True)` know them.

Each becomes standard operators. They are entered in the table of operators that torch's exporter asks, where torch's
own stand; nothing is replaced. docs/onnx.md has the operators of every op, the opset they need, and what ONNX cannot
express, which the export says in a warning."""

from vfi_kernels.onnx import warps  # noqa: F401
from vfi_kernels.onnx._values import OPSETS, TRANSLATIONS

from onnxscript.function_libs.torch_lib.registration import torch_op

for _name, _translation in TRANSLATIONS.items():
    torch_op(f"vfi_kernels::{_name}", trace_only=True)(_translation)
