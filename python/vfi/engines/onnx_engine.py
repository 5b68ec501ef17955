"""A model's parts by onnxruntime: its CPU provider, CUDA, DirectML, CoreML, TensorRT. A provider for another device
than the model's gets its inputs from the CPU and gives its results back there."""

import importlib
import warnings
from collections.abc import Sequence
from copy import deepcopy
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vfi.engines import cache
from vfi.engines.parts import Flat, Run
from vfi.engines.stop import EngineFailed, quiet
from vfi.errors import ArgumentError, UserError, dtype_name, require

if TYPE_CHECKING:
    import onnxruntime

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
ON_THE_CPU = ("DmlExecutionProvider", "CoreMLExecutionProvider", CPU)  # for models on torch's CPU, best first
INSTALL = {
    CUDA: "onnxruntime-gpu",
    TENSORRT: "onnxruntime-gpu and tensorrt",
}


def providers(device: str, tensorrt: bool) -> list[str]:
    """Those that can run a model on torch's `device`, best first.

    Raises:
        UserError: if there is none; it says what to install.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        require(module, "onnx")
    if not device.startswith("cuda"):
        if tensorrt:
            raise ArgumentError(f"tensorrt needs a model on a GPU of Nvidia, such as the `device` cuda:0, got {device}")
        return [name for name in ON_THE_CPU if name in available()]
    wanted = TENSORRT if tensorrt else CUDA
    if wanted not in available():
        raise UserError(f"onnxruntime has no {wanted} here; install it with: pip install {INSTALL[wanted]}")
    return [wanted]


def available() -> list[str]:
    names: list[str] = runtime().get_available_providers()
    return names


def runtime() -> ModuleType:
    return require("onnxruntime", "onnx")


def precisions(provider: str) -> list[str]:
    """Those that a provider has, the fastest first."""
    return ["float32"] if provider == CPU else ["float16", "float32"]


class Builder:
    """Makes of a part what runs it; arguments as those of openvino_engine.Builder."""

    def __init__(self, provider: str, precision: str, weights: str):
        self.provider, self.precision, self.weights = provider, precision, weights
        # TensorRT makes float16 of it by itself, where that is right
        self.dtype = torch.float16 if precision == "float16" and provider != TENSORRT else torch.float32

    def __call__(self, name: str, part: Flat, tensors: Sequence[Tensor]) -> Run | None:
        key = {
            "engine": "onnxruntime", "weights": self.weights, "torch": torch.__version__,
            "exporter": importlib.import_module("onnxscript").__version__, "dtype": dtype_name(self.dtype),
            "part": name, "arguments": repr(part.arguments), "shapes": [tuple(tensor.shape) for tensor in tensors],
        }  # fmt: skip
        try:
            data = cache.bytes_for("onnx", key, lambda: exported(part, tensors, self.dtype))
        except Unable:
            return None
        return Session(self.session(data, key, tensors), self.provider, self.dtype)

    def session(self, data: bytes, key: dict[str, object], tensors: Sequence[Tensor]) -> "onnxruntime.InferenceSession":
        """
        Raises:
            EngineFailed: if the provider takes the part not, or is none here; onnxruntime alone would pass over it.
        """
        options = runtime().SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # torch's threads work in between
        settings = self.settings(key, tensors)
        kept = settings.get("trt_engine_cache_prefix")
        if kept is not None:
            cache.remove_changed(self.folder, str(kept))
        try:
            session = runtime().InferenceSession(data, options, providers=[(self.provider, settings)])
        except Exception as error:  # its errors have no class in common
            raise EngineFailed(f"onnxruntime's {self.provider} cannot build {key['part']}: {error}") from error
        if self.provider not in session.get_providers():
            raise EngineFailed(f"onnxruntime's {self.provider} does not start here")
        session.disable_fallback()
        if kept is not None:
            cache.remember_files(self.folder, str(kept))
        return session

    @property
    def folder(self) -> str:
        """Where TensorRT's own cache is."""
        return f"tensorrt/{self.weights[:32]}"

    def settings(self, key: dict[str, object], tensors: Sequence[Tensor]) -> dict[str, object]:
        index = tensors[0].device.index or 0
        if self.provider == CUDA:
            return {"device_id": index, "use_tf32": 0}
        if self.provider != TENSORRT:
            return {}
        more: dict[str, object] = {"device_id": index, "trt_fp16_enable": self.precision == "float16"}
        path = cache.usable(self.folder)
        if path is not None:
            built = {**key, "runtime": runtime().__version__, "precision": self.precision}
            more |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(path)}
            more |= {"trt_engine_cache_prefix": cache.name_of(built), "trt_timing_cache_enable": True}
            more["trt_timing_cache_path"] = str(path)
        return more


class Unable(Exception):
    """torch cannot export a part: it stays in torch."""


def exported(part: Flat, tensors: Sequence[Tensor], dtype: torch.dtype) -> bytes:
    """A part as ONNX, for tensors of these shapes."""
    twin = deepcopy(part).to("cpu", dtype)
    inputs = tuple(torch.zeros(tensor.shape, dtype=dtype) for tensor in tensors)
    with warnings.catch_warnings(), quiet(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(twin, inputs, dynamo=True, verbose=False)
            assert program is not None
            data: bytes = program.model_proto.SerializeToString()
        except Exception as error:  # of many kinds
            raise Unable from error
    return data


class Session:
    """Runs a session on tensors; results are tensors of their own."""

    def __init__(self, session: "onnxruntime.InferenceSession", provider: str, dtype: torch.dtype):
        self.session, self.dtype = session, dtype
        self.on_gpu = provider in (CUDA, TENSORRT)
        self.inputs = [each.name for each in session.get_inputs()]
        self.outputs = [(each.name, tuple(each.shape)) for each in session.get_outputs()]

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        given = [tensor.detach().to(self.dtype).contiguous() for tensor in tensors]
        try:
            results = self.bound(given) if self.on_gpu else self.by_the_cpu(given)
        except Exception as error:  # its errors have no class in common
            raise EngineFailed(f"onnxruntime failed: {error}") from error
        return [result.to(torch.float32) for result in results]

    def by_the_cpu(self, given: Sequence[Tensor]) -> list[Tensor]:
        feed = {name: tensor.numpy() for name, tensor in zip(self.inputs, given, strict=True)}
        return [torch.from_numpy(array) for array in self.session.run(None, feed)]

    def bound(self, given: Sequence[Tensor]) -> list[Tensor]:
        """The GPU's memory is read and written where torch has it."""
        binding, element = self.session.io_binding(), {torch.float32: np.float32, torch.float16: np.float16}[self.dtype]
        results = [torch.empty(shape, dtype=self.dtype, device=given[0].device) for _, shape in self.outputs]
        for name, tensor in zip(self.inputs, given, strict=True):
            binding.bind_input(name, *place(tensor), element, tuple(tensor.shape), tensor.data_ptr())
        for (name, shape), tensor in zip(self.outputs, results, strict=True):
            binding.bind_output(name, *place(tensor), element, shape, tensor.data_ptr())
        if given[0].is_cuda:
            torch.cuda.current_stream(given[0].device).synchronize()  # onnxruntime has a stream of its own
        self.session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return results


def place(tensor: Tensor) -> tuple[str, int]:
    return tensor.device.type, tensor.device.index or 0
