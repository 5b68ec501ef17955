"""The CUDA kernels executed on the CPU from nvcc's PTX (csrc/testing/ptx): needs a source checkout and nvcc, no GPU."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.utils import _pytree as pytree

from vfi_kernels import backends
from vfi_kernels._autograd import NAMESPACE
from vfi_kernels._types import Facts, Function
from vfi_kernels.bench.jobs import UsageError

ROOT = Path(__file__).resolve().parents[2]
MODULE = "vfi_kernels_ptx"
SIMULATED = "vfi_simulated"
SHARED = {"8.0": 163, "8.9": 99, "9.0": 227}  # KiB that a block may have, by compute capability

_schemas: Any = None  # kept: what was registered goes with it
_loaded: tuple[str, tuple[str, ...]] | None = None  # what the module holds
ALL = ("all",)


def unavailable() -> str | None:
    """Why it cannot run here."""
    if not (ROOT / "setup.py").exists() or not (ROOT / "csrc" / "testing" / "ptx").is_dir():
        return "the simulator is built from a source checkout, and this is an installed package"
    sys.path.insert(0, str(ROOT / "build_backend"))
    try:
        toolkit = importlib.import_module("toolkit")
    finally:
        sys.path.pop(0)
    home, _ = toolkit.find_toolkit(Path(torch.__file__).parent)
    return None if home else "no CUDA toolkit found (bin/nvcc and include/cuda_runtime.h); set CUDA_HOME to one"


def build(arch: str, ops: Sequence[str] = ALL) -> Facts:
    """Compiles what has changed; the module and pairs of PTX and ptxas' log. UsageError where nothing can be built."""
    import fcntl  # which Windows lacks

    reason = unavailable()
    if reason is not None:
        raise UsageError(f"--simulate cannot run: {reason}")
    (ROOT / "build").mkdir(exist_ok=True)
    command = [sys.executable, "setup.py", "--quiet", "build_simulator", "--arch", arch, "--ops", ",".join(ops)]
    with open(ROOT / "build" / "simulator.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one build at a time
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        print(done.stdout, file=sys.stderr)
        raise UsageError("--simulate cannot run: the simulator was not built, as the compiler says above")
    made: Facts = json.loads(done.stdout.splitlines()[-1])
    return made


def imported(path: str) -> ModuleType:
    """The module; its ops are registered."""
    global _schemas
    module = sys.modules.get(MODULE)
    if module is not None:
        return module
    _schemas = torch.library.Library(SIMULATED, "DEF")
    for op in native_ops():
        schema = str(getattr(getattr(torch.ops, NAMESPACE), op).default._schema)
        _schemas.define(schema.removeprefix(f"{NAMESPACE}::"))
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[MODULE] = module
    return module


def load(arch: str = "9.0", ops: Sequence[str] = ALL) -> ModuleType:
    """The module, with the kernels of `ops` (folders of csrc/ops) compiled for `arch`; built once in a process."""
    global _loaded
    if _loaded == (arch, tuple(ops)):
        return sys.modules[MODULE]
    made = build(arch, ops)
    module = imported(made["module"])
    module.forget_modules()
    module.set_device(int(arch.replace(".", "")), SHARED[arch] * 1024, 4)
    for ptx, log in made["kernels"]:
        module.load(ptx, log)
    _loaded = (arch, tuple(ops))
    return module


def forget() -> None:
    """The next load() begins afresh."""
    global _loaded
    _loaded = None


def native_ops() -> list[str]:
    return [op for op, composed in backends.ops().items() if not composed]


class Counts:
    """What the launches inside a block of `simulated` cost."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def kernels(self) -> list[Facts]:
        """A dict per kernel, as csrc/testing/ptx/module.cpp fills it: `lanes` are the instructions of threads, `issued`
        those of warps; sectors are of 32 bytes."""
        found: list[Facts] = self.module.counts()
        return found

    def lines(self, part: str) -> list[tuple[Any, ...]]:
        """(line, text, issued, lanes, requests, sectors, wavefronts, least wavefronts) of each PTX instruction of the
        kernels whose name has `part`."""
        return [
            line for k in self.kernels() if part in k["name"] and "lanes" in k for line in self.module.lines(k["name"])
        ]

    def forget(self) -> None:
        self.module.forget_counts()


def _with_memory(module: ModuleType, op: str) -> Function:
    """The op on the simulator, which is told of the memory of arguments that are older than itself."""
    packet = getattr(getattr(torch.ops, SIMULATED), op).default

    def call(*arguments: object) -> object:
        storages = [t.untyped_storage() for t in pytree.tree_leaves(arguments) if isinstance(t, torch.Tensor)]
        told = [s.data_ptr() for s in storages if s.nbytes() and module.name_allocation(s.data_ptr(), s.nbytes())]
        try:
            return packet(*arguments)
        finally:
            for begin in told:
                module.forget_allocation(begin)

    return call


@contextlib.contextmanager
def simulated(
    arch: str = "9.0", ops: Sequence[str] = ALL, seed: int = 0, races: bool = True, sample: int = 0
) -> Iterator[Counts]:
    """Inside, the ops of vfi_kernels run their CUDA kernels, simulated, on CPU tensors. races: memory is watched, at
    half the speed. sample: only so many blocks of each launch run, results are wrong and counts are multiplied.

    Raises RuntimeError for what is wrong in a kernel, UsageError where the simulator cannot be built."""
    module = load(arch, ops)
    library = torch.library.Library(NAMESPACE, "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators")  # overriding is the purpose
        for op in native_ops():
            library.impl(op, _with_memory(module, op), "CPU", allow_override=True)
    module.forget_counts()
    module.set_seed(seed)
    module.set_races(races)
    module.set_sample(sample)
    try:
        yield Counts(module)
    finally:
        library._destroy()
