"""The ops of vfi_kernels in ONNX: imported, this makes `torch.onnx.export(model, ..., dynamo=True)` know them.

Each becomes standard operators; with `custom_translation_table=vfi_kernels.onnx.operators()` one node of the domain
`vfi_kernels`. They are entered in the table that torch's exporter reads, where its own operators stand; nothing is
replaced. docs/onnx.md has the operators of every op and the opset they need. What ONNX cannot express the export says
in a warning."""

import importlib
import pkgutil
from collections.abc import Iterable
from types import SimpleNamespace

import onnxscript
from onnxscript.function_libs.torch_lib.registration import default_registry
from torch.export import ExportedProgram

from vfi_kernels.onnx._openvino import openvino_extension
from vfi_kernels.onnx._operators import operators
from vfi_kernels.onnx._values import DOMAIN, OLDEST, OPSETS, TRANSLATIONS

__all__ = ["OPSETS", "openvino_extension", "operators", "opset_of"]


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")  # which enters what it translates


# An entry of the table. Of `function_ir` the domain is all that is asked; for it the function's text would be parsed.
Translation = type("Translation", (onnxscript.TracedOnnxFunction,), {"function_ir": SimpleNamespace(domain=DOMAIN)})

for _name, _function in TRANSLATIONS.items():
    default_registry.register(Translation(onnxscript.values.Opset(DOMAIN, 1), _function), f"{DOMAIN}::{_name}")


def opset_of(program: ExportedProgram | Iterable[str]) -> int:
    """The oldest opset that has the operators of every op of ours in a program of torch.export, or of those called
    `vfi_kernels.backward_warp` and so on, and that torch exports to."""
    if isinstance(program, ExportedProgram):
        program = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    names = (name.split(".") for name in program)
    return max((OPSETS.get(name[1], OLDEST) for name in names if name[0] == DOMAIN), default=OLDEST)


def __dir__() -> list[str]:
    return sorted(__all__)
