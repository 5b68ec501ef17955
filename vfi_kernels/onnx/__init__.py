"""The ops of vfi_kernels in ONNX: imported, this makes `torch.onnx.export(model, ..., dynamo=True)` know them.

Each becomes standard operators. They are entered in the table of operators that torch's exporter asks, where torch's
own stand; nothing is replaced. docs/onnx.md has the operators of every op, the opset they need, and what ONNX cannot
express, which the export says in a warning."""

from types import SimpleNamespace

import onnxscript
from torch.export import ExportedProgram
from onnxscript.function_libs.torch_lib.registration import default_registry

from vfi_kernels.onnx import convolutions, correlations, kernels, patches, splats, trajectories, warps  # noqa: F401
from vfi_kernels.onnx._values import OLDEST, OPSETS, TRANSLATIONS

DOMAIN = "vfi_kernels"


class Translation(onnxscript.TracedOnnxFunction):
    """An entry of the table."""

    function_ir = SimpleNamespace(domain=DOMAIN)  # all that is asked of it; else the text of the function is parsed


for _name, _function in TRANSLATIONS.items():
    default_registry.register(Translation(onnxscript.values.Opset(DOMAIN, 1), _function), f"{DOMAIN}::{_name}")


def opset_of(program: ExportedProgram) -> int:
    """The oldest opset that has the operators of every op of ours in a program of torch.export."""
    names = (str(node.target).split(".")[1] for node in program.graph.nodes if DOMAIN in str(node.target))
    return max((OPSETS[name] for name in names if name in OPSETS), default=OLDEST)
