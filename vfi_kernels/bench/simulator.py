"""The CUDA kernels executed on the CPU from nvcc's PTX (csrc/testing/ptx): needs a source checkout and nvcc, no GPU."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import itertools
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

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

Line: TypeAlias = tuple[Any, ...]  # of PTX, as Counts.lines() says
_schemas: Any = None  # kept: what was registered goes with it
_loaded: tuple[str, set[str]] | None = None  # what the module holds
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
    ops = [*ops, *(["splat"] if any(map(scatters, ops)) else [])]
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
    """The module, with the kernels of `ops` (folders of csrc/ops) compiled for `arch`; each built once in a process."""
    global _loaded
    known = _loaded[1] if _loaded is not None and _loaded[0] == arch else None
    if known is not None and (known >= set(ops) or known >= set(ALL)):
        return sys.modules[MODULE]
    made = build(arch, ops)
    module = imported(made["module"])
    if known is None:
        known = set()
        module.forget_modules()
        module.set_device(int(arch.replace(".", "")), SHARED[arch] * 1024, 4)
    for ptx, log in made["kernels"]:
        module.load(ptx, log)
    _loaded = (arch, known | set(ops))
    return module


def forget() -> None:
    """The next load() begins afresh."""
    global _loaded
    _loaded = None


def scatters(folder: str) -> bool:
    """Whether its kernels call those of the splat (csrc/splatting)."""
    sources = (ROOT / "csrc" / "ops" / folder).glob("*.cu*")
    return any('#include "splatting/' in source.read_text() for source in sources)


def folder_of(op: str) -> str:
    """Of csrc/ops, where the kernels of an op are."""
    return backends._triton_modules[op].split(".")[2]


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

    def lines(self, part: str) -> list[Line]:
        """(line, text, issued, lanes, requests, sectors, wavefronts, least wavefronts) of each PTX instruction of the
        kernels whose name has `part`."""
        names = [kernel["name"] for kernel in self.kernels() if part in kernel["name"] and "lanes" in kernel]
        return [line for name in names for line in self.of_kernel(name)]

    def of_kernel(self, name: str) -> list[Line]:
        """lines() of one kernel, by its whole name."""
        found: list[Line] = self.module.lines(name)
        return found

    def forget(self) -> None:
        self.module.forget_counts()


def _cuda_op(arch: str, op: str) -> Function:
    """The op, whose kernels are compiled at the first call."""
    function: Function = getattr(getattr(torch.ops, SIMULATED), op).default

    def call(*arguments: object) -> object:
        load(arch, (folder_of(op),))
        return function(*arguments)

    return call


def _with_memory(module: ModuleType, function: Function, seeds: Iterator[int]) -> Function:
    """An op on the simulator, which is told of the memory of arguments that are older than itself."""

    def call(*arguments: object) -> object:
        module.set_seed(next(seeds))
        storages = [t.untyped_storage() for t in pytree.tree_leaves(arguments) if isinstance(t, torch.Tensor)]
        told = [s.data_ptr() for s in storages if s.nbytes() and module.name_allocation(s.data_ptr(), s.nbytes())]
        try:
            return function(*arguments)
        finally:
            for begin in told:
                module.forget_allocation(begin)

    return call


@contextlib.contextmanager
def overriding(
    module: ModuleType, function_of: Callable[[str], Function], seeds: Iterator[int] | None = None
) -> Iterator[Counts]:
    """Inside, each native op is what function_of(op) gives, on CPU tensors."""
    library = torch.library.Library(NAMESPACE, "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators")  # overriding is the purpose
        for op in native_ops():
            call = _with_memory(module, function_of(op), seeds or itertools.repeat(0))
            library.impl(op, call, "CPU", allow_override=True)
    module.forget_counts()
    try:
        yield Counts(module)
    finally:
        library._destroy()


@contextlib.contextmanager
def simulated(
    arch: str = "9.0",
    ops: Sequence[str] = (),
    seed: int = 0,
    races: bool = True,
    sample: int = 0,
    seeds: Iterator[int] | None = None,
) -> Iterator[Counts]:
    """Inside, the ops of vfi_kernels run their CUDA kernels, simulated, on CPU tensors.

    What is called is compiled, where it has changed; `ops`, folders of csrc/ops, at once. races: memory is watched, at
    half the speed. seed: of the order in which blocks and warps run, 0 for the natural one; seeds: one for each call of
    an op. sample: only so many blocks of each launch run, results are wrong and counts are multiplied.

    Raises RuntimeError for what is wrong in a kernel, UsageError where the simulator cannot be built."""
    module = load(arch, ops)
    module.set_races(races)
    module.set_sample(sample)
    with overriding(module, functools.partial(_cuda_op, arch), seeds or itertools.repeat(seed)) as counts:
        yield counts
