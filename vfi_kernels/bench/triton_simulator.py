"""The Triton kernels on the simulator: their PTX, compiled without a GPU, counted as that of the CUDA kernels is.

In a process of its own: where TRITON_INTERPRET=1, or a kernel has run, Triton compiles nothing any more.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import torch

from vfi_kernels import backends
from vfi_kernels._options import with_words
from vfi_kernels._types import Foreign, Function
from vfi_kernels.bench import simulator

FORMATS = {"i1": "?", "u1": "?", "i32": "i", "u32": "I", "i64": "q", "u64": "Q", "fp32": "f", "fp64": "d"}


class NoGPU:
    """The little of a driver that is asked before a launch."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> object:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def bytes_of(value: object, kind: object) -> Iterator[bytes]:
    """An argument as its kernel takes it: an address, a number; a tuple's one after another, and no constant."""
    if isinstance(kind, tuple):
        for one, of in zip(value, kind, strict=True):  # type: ignore[call-overload]
            yield from bytes_of(one, of)
    elif isinstance(value, torch.Tensor):
        yield struct.pack("<Q", value.data_ptr())
    elif kind != "constexpr":
        yield struct.pack(f"<{FORMATS[str(kind)]}", value)


class Launches:
    """What takes the place of JITFunction.run: compiles, loads each kernel once, and runs it on the simulator."""

    def __init__(self, module: ModuleType, folder: Path, compile_only: Function) -> None:
        self.module, self.folder, self.compile_only = module, folder, compile_only
        self.loaded: dict[str, int] = {}  # parameters of each kernel

    def __call__(self, function: Foreign, *args: object, grid: Foreign, warmup: bool, **options: object) -> object:
        kernel = self.compile_only(function, *args, grid=grid, warmup=True, **options)
        name = f"{kernel.metadata.name}_{kernel.hash[:12]}"
        if name not in self.loaded:
            self.loaded[name] = self.load(name, kernel)
        given = dict(zip((p.name for p in function.params), args)) | options
        values = {p.name: given.get(p.name, p.default) for p in function.params}
        signature = kernel.src.signature
        packed = [b for key, kind in signature.items() for b in bytes_of(values[key], kind)]
        packed += [bytes(8)] * (self.loaded[name] - len(packed))  # memory of Triton's own, which these kernels lack
        blocks = grid(values) if callable(grid) else grid
        blocks = [*(int(n) for n in blocks), 1, 1][:3]
        self.module.run(name, blocks, [32 * kernel.metadata.num_warps, 1, 1], kernel.metadata.shared, packed)
        return kernel

    def load(self, name: str, kernel: Foreign) -> int:
        """Under a name of its own, with what ptxas says; how many parameters it has."""
        from triton import knobs

        text = re.sub(rf"\b{kernel.metadata.name}(?=\b|_param)", name, kernel.asm["ptx"])
        ptx, log = (self.folder / f"{name}.{suffix}" for suffix in ("ptx", "log"))
        ptx.write_text(text)
        arch = re.findall(r"^\.target (\w+)", text, re.MULTILINE)[0]
        command = [knobs.nvidia.ptxas.path, "-v", f"-arch={arch}", str(ptx), "-o", str(self.folder / "cubin")]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        log.write_text(said.stdout + said.stderr)
        self.module.load(str(ptx), str(log))
        if kernel.metadata.shared > 48 * 1024:
            self.module.allow_shared(name, kernel.metadata.shared)
        return text.partition(".entry")[2].partition("{")[0].count(".param ")


@contextlib.contextmanager
def simulated(arch: str = "8.0", races: bool = False) -> Iterator[simulator.Counts]:
    """Inside, the ops of vfi_kernels run their Triton kernels, simulated, on CPU tensors. races: what Triton makes has
    threads that write one number to one place, which then is a fault."""
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    driver.set_active(NoGPU(int(arch.replace(".", ""))))
    module = simulator.load(arch, ())
    before = JITFunction.run
    with tempfile.TemporaryDirectory() as folder, simulator.overriding(module, triton_op) as counts:
        module.set_races(races)
        launches = Launches(module, Path(folder), before)
        JITFunction.run = lambda *args, **options: launches(*args, **options)  # which Python binds to the function
        try:
            yield counts
        finally:
            JITFunction.run = before


def triton_op(op: str) -> Function:
    def call(*arguments: object) -> object:
        function = getattr(importlib.import_module(backends._triton_modules[op]), op)
        return function(*with_words(op, arguments))

    return call
