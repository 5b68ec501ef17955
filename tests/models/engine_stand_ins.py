"""In place of openvino, onnxruntime and torch.cuda: what the engines call of them, computed by torch."""

import contextlib
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import torch

PROGRAMS = {}  # by what the bytes of an "engine" say; as a library would hold weights in its file


class StandIns:
    """What was done, and what shall go wrong.

    fails: "build" or "run". error: added to every result. imported: engines that came from a file.
    """

    def __init__(self, monkeypatch):
        self.monkeypatch, self.runs, self.imported, self.fails, self.error = monkeypatch, 0, 0, None, 0.0
        self.precision = {}

    def compute(self, program, tensors):
        if self.fails == "run":
            raise RuntimeError("the device was lost")
        self.runs += 1
        with torch.no_grad():
            return [result.float() + self.error for result in program(*tensors)]

    def checked(self):
        if self.fails == "build":
            raise RuntimeError("no memory on the device")

    def remove(self):
        for name in ("openvino", "onnxruntime", "onnx", "onnxscript"):
            self.monkeypatch.setitem(sys.modules, name, None)
        from vfi.engines import openvino_engine

        openvino_engine._made.clear()


def install(monkeypatch):
    from vfi.engines import onnx_engine, openvino_engine

    state = StandIns(monkeypatch)
    monkeypatch.setitem(sys.modules, "openvino", make_openvino(state))
    monkeypatch.setitem(sys.modules, "openvino.opset13", None)  # graphs come by convert_model
    monkeypatch.setitem(sys.modules, "onnxruntime", make_onnxruntime(state))
    for name in ("onnx", "onnxscript"):
        module = types.ModuleType(name)
        module.__version__ = "1.0"
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(openvino_engine, "_made", {})
    monkeypatch.setattr(onnx_engine, "exported", exported)
    return state


def exported(part, tensors, dtype):
    """A program of torch as bytes: what torch.onnx.export gives a real runtime."""
    twin = onnx_twin(part, dtype)
    shapes = [tuple(r.shape) for r in twin(*(t.to(dtype) for t in tensors))]
    name = f"program {len(PROGRAMS)}"
    PROGRAMS[name] = (twin, [tuple(t.shape) for t in tensors], shapes)
    return pickle.dumps(name)


def onnx_twin(part, dtype):
    import copy

    return copy.deepcopy(part).to("cpu", dtype).requires_grad_(False)


class Port:
    def __init__(self, name, shape):
        self.name, self.shape = name, shape


class OpenvinoTensor:
    def __init__(self, array, shared_memory):
        assert shared_memory and array.dtype == np.float32 and array.flags.c_contiguous
        self.values = torch.from_numpy(array)


class OpenvinoModel:
    def __init__(self, program):
        self.program, self.inputs, self.shapes = program.module(), list(range(len(program.example_inputs[0]))), None
        with torch.no_grad():
            results = self.program(*program.example_inputs[0])
        self.outputs = [Port("", tuple(result.shape)) for result in results]

    def reshape(self, shapes):
        self.shapes = shapes


class OpenvinoRequest:
    def __init__(self, state, model):
        self.state, self.model, self.inputs, self.outputs = state, model, {}, {}

    def set_input_tensor(self, i, tensor):
        self.inputs[i] = tensor

    def set_output_tensor(self, i, tensor):
        self.outputs[i] = tensor

    def infer(self):
        results = self.state.compute(self.model.program, [self.inputs[i].values for i in range(len(self.inputs))])
        for i, result in enumerate(results):
            self.outputs[i].values.copy_(result)


def make_openvino(state):
    module = types.ModuleType("openvino")
    module.__version__ = "1.0"
    module.PartialShape = list

    class Compiled:
        def __init__(self, model):
            self.model, self.outputs = model, model.outputs

        def export_model(self, stream):
            name = f"program {len(PROGRAMS)}"
            PROGRAMS[name] = self.model
            stream.write(pickle.dumps(name))

        def create_infer_request(self):
            return OpenvinoRequest(state, self.model)

    class Core:
        available_devices = ("CPU", "GPU")

        def get_property(self, device, name):
            able = ["FP32", "FP16", "INT8"] if device == "GPU" else ["FP32", "BF16"]
            return {"OPTIMIZATION_CAPABILITIES": able, "FULL_DEVICE_NAME": f"some {device}"}[name]

        def compile_model(self, model, device, settings):
            state.checked()
            assert settings["INFERENCE_PRECISION_HINT"] in ("f32", "f16", "bf16") and model.shapes
            return Compiled(model)

        def import_model(self, data, device, settings):
            state.checked()
            state.imported += 1
            return Compiled(PROGRAMS[pickle.loads(data)])

    module.Core, module.Tensor, module.convert_model = Core, OpenvinoTensor, OpenvinoModel
    return module


class OnnxBinding:
    def __init__(self):
        self.inputs, self.outputs = {}, {}

    def bind_input(self, name, device, index, element, shape, address):
        self.inputs[name] = view(element, shape, address)

    def bind_output(self, name, device, index, element, shape, address):
        self.outputs[name] = view(element, shape, address)

    def synchronize_outputs(self):
        pass


def from_file(state, data, folder, prefix):
    """TensorRT's engine in its own cache: found there, or made."""
    file = Path(folder, f"{prefix}_0.engine")
    if not file.exists():
        file.write_bytes(data)
        return data
    state.imported += 1
    return file.read_bytes()


def make_onnxruntime(state):
    module = types.ModuleType("onnxruntime")
    module.__version__ = "1.0"
    module.get_available_providers = lambda: [
        "TensorrtExecutionProvider", "CUDAExecutionProvider", "CoreMLExecutionProvider", "CPUExecutionProvider"
    ]  # fmt: skip

    class SessionOptions:
        def add_session_config_entry(self, key, value):
            assert key.startswith("session.")

    class InferenceSession:
        def __init__(self, data, options, providers):
            state.checked()
            ((self.provider, self.settings),) = providers
            assert ("trt_engine_cache_path" in self.settings) == self.provider.startswith("Tensorrt")
            if "trt_engine_cache_path" in self.settings:
                data = from_file(
                    state, data, *(self.settings[f"trt_engine_cache_{name}"] for name in ("path", "prefix"))
                )
            self.program, self.shapes, self.results = PROGRAMS[pickle.loads(data)]

        def get_providers(self):
            return [self.provider, "CPUExecutionProvider"]

        def disable_fallback(self):
            pass

        def get_inputs(self):
            return [Port(f"in{i}", shape) for i, shape in enumerate(self.shapes)]

        def get_outputs(self):
            return [Port(f"out{i}", shape) for i, shape in enumerate(self.results)]

        def run(self, names, feed):
            tensors = [torch.from_numpy(feed[f"in{i}"]) for i in range(len(feed))]
            return [result.numpy() for result in state.compute(self.program, tensors)]

        def io_binding(self):
            return OnnxBinding()

        def run_with_iobinding(self, binding):
            results = state.compute(self.program, list(binding.inputs.values()))
            for result, place in zip(results, binding.outputs.values(), strict=True):
                place.copy_(result)

    module.SessionOptions, module.InferenceSession = SessionOptions, InferenceSession
    return module


def view(element, shape, address):
    """The memory at an address, as a library sees it."""
    import ctypes

    count = int(np.prod(shape)) * np.dtype(element).itemsize
    array = np.frombuffer((ctypes.c_byte * count).from_address(address), dtype=element)
    return torch.from_numpy(array).view(shape)


class Cuda:
    """torch.cuda as far as graphs go: what is recorded once is computed again, into the same tensors.

    fails: nothing can be recorded.
    """

    def __init__(self, fails=False):
        self.fails, self.recorded, self.replayed = fails, 0, 0

    class Stream:
        def wait_stream(self, other):
            pass

    def current_stream(self):
        return self.Stream()

    def stream(self, stream):
        return contextlib.nullcontext()

    def CUDAGraph(self):
        return Graph(self)

    @contextlib.contextmanager
    def graph(self, graph):
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        with graph:
            yield
        self.recorded += 1


class Graph(torch.utils._python_dispatch.TorchDispatchMode):
    """Keeps every operation, with the very tensors, and does them again."""

    def __init__(self, cuda):
        super().__init__()
        self.cuda, self.calls = cuda, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self):
        self.cuda.replayed += 1
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(flat(result), flat(again), strict=True):
                if old.data_ptr() != new.data_ptr():  # no view, not in place
                    old.copy_(new)


def flat(result):
    return [r for r in (result if isinstance(result, (list, tuple)) else [result]) if isinstance(r, torch.Tensor)]
