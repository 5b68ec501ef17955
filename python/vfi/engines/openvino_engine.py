"""A model's parts by OpenVINO, on the CPU or an Intel GPU; from torch's exported programs, without ONNX."""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vfi.engines import cache, openvino_graph
from vfi.engines.parts import Flat, Run
from vfi.engines.stop import EngineFailed, quiet
from vfi.errors import require

if TYPE_CHECKING:
    import openvino

HINTS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
CAPABILITIES = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16"}


def devices() -> list[str]:
    """OpenVINO's names of what it can use: CPU, GPU."""
    return [name for name in core().available_devices if name.partition(".")[0] in ("CPU", "GPU")]


def precisions(device: str) -> list[str]:
    """Those that the device has units for, the fastest first."""
    able = core().get_property(device, "OPTIMIZATION_CAPABILITIES")
    wanted = ("float16", "float32") if device.startswith("GPU") else ("bfloat16", "float32")
    return [name for name in wanted if CAPABILITIES[name] in able]


def core() -> "openvino.Core":
    if "core" not in _made:
        _made["core"] = require("openvino", "openvino").Core()
    return _made["core"]


_made: "dict[str, openvino.Core]" = {}


class Builder:
    """Makes of a part what runs it.

    Args:
        weights: the hash of the model's weights; what was built for others is never used.
    """

    def __init__(self, device: str, precision: str, weights: str):
        self.device, self.precision, self.weights = device, precision, weights

    def __call__(self, name: str, part: Flat, tensors: Sequence[Tensor]) -> Run | None:
        shapes = [tuple(tensor.shape) for tensor in tensors]
        key = {
            "engine": "openvino", "version": require("openvino", "openvino").__version__, "weights": self.weights,
            "torch": torch.__version__, "device": self.device,
            "full": core().get_property(self.device, "FULL_DEVICE_NAME"),
            "precision": self.precision, "part": name, "arguments": repr(part.arguments), "shapes": shapes,
            "settings": self.settings(),
        }  # fmt: skip
        try:
            compiled = self.compiled(key, part, tensors)
        except Unable:
            return None
        except RuntimeError as error:
            raise EngineFailed(f"openvino cannot build {name}: {first_line(error)}") from error
        return Request(compiled)

    def settings(self) -> dict[str, object]:
        hints: dict[str, object] = {"INFERENCE_PRECISION_HINT": HINTS[self.precision], "PERFORMANCE_HINT": "LATENCY"}
        if self.device == "CPU":
            hints["INFERENCE_NUM_THREADS"] = torch.get_num_threads()
        return hints

    def compiled(self, key: Mapping[str, object], part: Flat, tensors: Sequence[Tensor]) -> "openvino.CompiledModel":
        made: list[openvino.CompiledModel] = []

        def build() -> bytes:
            made.append(core().compile_model(converted(part, tensors), self.device, self.settings()))
            stream = io.BytesIO()
            made[0].export_model(stream)
            return stream.getvalue()

        data = cache.bytes_for("openvino", key, build)
        return made[0] if made else core().import_model(data, self.device, self.settings())


class Unable(Exception):
    """torch cannot export a part: it stays in torch."""


def converted(part: Flat, tensors: Sequence[Tensor]) -> "openvino.Model":
    """OpenVINO's model of a part for tensors of these shapes."""
    library = require("openvino", "openvino")
    with warnings.catch_warnings(), quiet(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(part, tuple(tensor.clone() for tensor in tensors))
        except Exception as error:  # of many kinds
            raise Unable from error
        try:
            model = openvino_graph.translated(program)
        except (openvino_graph.Untranslated, ImportError):
            model = library.convert_model(program)
    model.reshape({given: library.PartialShape(list(t.shape)) for given, t in zip(model.inputs, tensors)})
    return model


class Request:
    """Runs a compiled part; results are tensors of their own, since a model may keep them."""

    def __init__(self, compiled: "openvino.CompiledModel"):
        self.request = compiled.create_infer_request()
        self.shapes = [tuple(output.shape) for output in compiled.outputs]
        self.tensor = require("openvino", "openvino").Tensor

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        given = [tensor.detach().float().contiguous() for tensor in tensors]
        results = [torch.empty(shape) for shape in self.shapes]
        try:
            for i, value in enumerate(given):
                self.request.set_input_tensor(i, self.tensor(value.numpy(), shared_memory=True))
            for i, value in enumerate(results):
                self.request.set_output_tensor(i, self.tensor(value.numpy(), shared_memory=True))
            self.request.infer()
        except RuntimeError as error:
            raise EngineFailed(f"openvino failed: {first_line(error)}") from error
        return results


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
