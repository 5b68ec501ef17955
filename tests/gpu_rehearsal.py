"""A CPU that answers to the name of "cuda", where the simulator runs the CUDA kernels: what needs a GPU, rehearsed.

    VFI_GPU_REHEARSAL=1 python -m pytest tests/gpu     each test once for an op, with parameters that take turns

With PYTHONPATH=tests/rehearsal:tests so is every process. Streams run one after another, a graph repeats the calls
of torch that it saw, events are the clock. Every op runs its blocks in another order. SKIPPED depends on the device.
"""

import contextlib
import functools
import itertools
import os
import time
from collections.abc import Iterator
from types import SimpleNamespace
from unittest import mock

import torch
import torch._dynamo  # which looks at the functions of torch.cuda as they are
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import vfi_kernels as vk
from vfi_kernels import backends
from vfi_kernels.bench import simulator, timing
from vfi_kernels.testing import tensors

SKIPPED = {
    "test_wrong_device_is_refused": "there is one device",
    "test_half_images_get_no_float32_copy": "memory of a CPU is not counted",
    "test_reduce_overhead_behind_a_linear": "inductor makes graphs of a GPU only",
}
SMALL = {"SIZES": {"4K": (27, 48), "8K": (54, 96)}, "MANY": (2, 3, 27, 48), "ELEMENTS": 0}  # of test_gpu_large


def on_the_cpu(value):
    """`value`, or the CPU where it names a GPU."""
    is_name = isinstance(value, str) and value.partition(":")[0] == "cuda"
    if is_name or (isinstance(value, torch.device) and value.type == "cuda"):
        return torch.device("cpu")
    return value


class OnTheCpu(TorchFunctionMode):
    """Whatever asks for a GPU gets the CPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.cuda:
            return args[0].clone()
        return func(*map(on_the_cpu, args), **{name: on_the_cpu(value) for name, value in (kwargs or {}).items()})


class Recording(TorchDispatchMode):
    """Every call of torch, with what it gave."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out


class Graph:
    """CUDAGraph: the calls again, whose results go where those of the recording are."""

    def __init__(self):
        self.recording = Recording()

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, out in self.recording.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tensors(out), tensors(again), strict=True):
                if old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)


class Stream:
    def wait_stream(self, other):
        pass

    def synchronize(self):
        pass


class Event:
    def __init__(self, enable_timing=False):
        self.at = 0.0

    def record(self):
        self.at = time.perf_counter()

    def elapsed_time(self, other):
        return 1000 * (other.at - self.at)


@contextlib.contextmanager
def capturing(graph) -> Iterator[None]:
    with graph.recording:
        yield


def nothing(*arguments, **options):
    return None


PROPERTIES = SimpleNamespace(name="a rehearsal", major=9, minor=0, total_memory=1 << 37, multi_processor_count=4)
CUDA_FUNCTIONS = {
    "is_available": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "get_device_name": lambda n=0: PROPERTIES.name,
    "get_device_properties": lambda n=0: PROPERTIES,
    "get_device_capability": lambda n=0: (PROPERTIES.major, PROPERTIES.minor),
    "mem_get_info": lambda: (1 << 37, 1 << 37),
    "current_stream": Stream,
    "stream": lambda stream: contextlib.nullcontext(),
    "device": lambda n: contextlib.nullcontext(),
    "graph": capturing,
    **{name: Class for name, Class in (("Stream", Stream), ("Event", Event), ("CUDAGraph", Graph))},
    **dict.fromkeys(("synchronize", "_sleep", "empty_cache", "reset_peak_memory_stats", "manual_seed_all"), nothing),
}


@contextlib.contextmanager
def backend_of(use_backend, name) -> Iterator[None]:
    """The simulator is what runs already; the others are themselves."""
    with contextlib.nullcontext() if name == "cuda" else use_backend(name):
        yield


def unrehearsed(build):
    """Compiling is done as always: a process of its own that is no rehearsal, which would wait for this one."""

    def call(*arguments):
        with mock.patch.dict(os.environ):
            os.environ.pop("VFI_GPU_REHEARSAL", None)
            return build(*arguments)

    return call


@functools.cache
def install() -> None:
    """For as long as the process lives."""
    use_backend, unavailable = backends.use_backend, backends.unavailable
    for name, stand_in in CUDA_FUNCTIONS.items():
        setattr(torch.cuda, name, stand_in)
    timing.FLUSHED = 1
    simulator.build = unrehearsed(simulator.build)
    for module in (vk, backends):
        module.use_backend = lambda name: backend_of(use_backend, name)
    backends.unavailable = lambda name: None if name == "cuda" else unavailable(name)
    KEPT.append(simulator.simulated(seeds=itertools.count(1)))
    KEPT.append(OnTheCpu())
    for context in KEPT:
        context.__enter__()


KEPT: list = []


def chosen(items) -> list:
    """One item of each test for each op, with parameters that take turns; what SKIPPED does not name."""
    groups: dict = {}
    for item in items:
        for name, value in SMALL.items():
            if hasattr(item.module, name):
                setattr(item.module, name, value)
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if item.originalname in SKIPPED or str(parameters.get("backend", parameters.get("engine"))).startswith(
            "triton"
        ):
            continue
        case = parameters.get("case")
        groups.setdefault((item.originalname, case and case.op), []).append(item)
    return [group[n % len(group)] for n, group in enumerate(groups.values())]
