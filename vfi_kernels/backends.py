"""Which implementation of an op runs: the one file that decides it.

    device      first                             else
    CPU         cpp
    CUDA        cuda, if compiled for this GPU    triton
    any other   reference

`cpp` and `cuda` are compiled from csrc/ into `_C`, whose import registers them with torch's dispatcher. Triton is
registered for CUDA where no compiled kernel is. The reference serves every other device (dispatch key
CompositeExplicitAutograd, the dispatcher's last choice). An explicit choice (`use_backend`, VFI_KERNELS_BACKEND)
that cannot run raises and says why; nothing falls back silently.
"""

import contextlib
import functools
import importlib
import importlib.util
import json
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Literal, TypedDict

import torch
from torch import Tensor

from vfi_kernels._arguments import ArgumentError
from vfi_kernels._autograd import NAMESPACE
from vfi_kernels._options import taking_numbers, with_words
from vfi_kernels._types import Function

Backend = Literal["reference", "cpp", "cuda", "triton"]
BACKENDS: tuple[Backend, ...] = ("reference", "cpp", "cuda", "triton")

_library = torch.library.Library(NAMESPACE, "FRAGMENT")
_references: dict[str, Function] = {}  # op -> plain PyTorch
_composed: dict[str, Function] = {}  # op -> what calls others, instead of a kernel of any backend; takes numbers
_triton_modules: dict[str, str] = {}  # op -> module that defines it in Triton
_overrides: list[torch.library.Library] = []  # of VFI_KERNELS_BACKEND: kept for the life of the process


def load_compiled() -> None:
    """Imports the compiled library; ImportError with the build command where there is none."""
    if importlib.util.find_spec("vfi_kernels._C") is None:
        raise ImportError(
            "vfi_kernels: expected the compiled library vfi_kernels/_C.abi3.so, found none; "
            "build it with `pip install .` in the source folder (a C++20 compiler is needed)"
        )
    importlib.import_module("vfi_kernels._C")


class BuildInfo(TypedDict):
    compiler: str
    torch: str
    cuda: str | None
    cuda_archs: list[str]
    cuda_reason: str | None
    cpu_levels: list[str]


@functools.cache
def build_info() -> BuildInfo:
    """How the compiled library was built: compiler, torch, CUDA version and architectures, CPU levels."""
    info: BuildInfo = json.loads(_text(torch.ops.vfi_kernels.build_info()))
    return info


@functools.cache
def cpu_level() -> str:
    """The instruction set that the CPU kernels use in this process: baseline, avx2, avx512, amx, neon or neon_bf16."""
    return _text(torch.ops.vfi_kernels.cpu_level())


@functools.cache
def cpu_level_note() -> str:
    """Why that is not the best instruction set of this CPU, in a few words; or nothing."""
    return _text(torch.ops.vfi_kernels.cpu_level_note())


def _text(characters: torch.Tensor) -> str:
    """Of the library: as bytes, for no string is passed on without a leak."""
    return bytes(characters.tolist()).decode()


def _of_dense(op: str, reference: Function) -> Function:
    """The dispatcher's last choice meets tensors of every layout, some of which its arithmetic takes otherwise."""

    def kernel(*args: object) -> object:
        for value in args:
            for t in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(t, Tensor) and t.layout is not torch.strided:
                    raise ArgumentError(f"{op}: expected dense tensors, got one of layout {t.layout}")
        return reference(*args)

    return kernel


def implement(op: str, reference: Function, composed: Function | None = None) -> None:
    """Registers the Python implementations of `op`: `reference`, and triton_kernels.py beside it on first use, which
    take the words of options. `composed` calls native ops on any device, in place of any kernel."""
    _references[op] = _of_dense(op, taking_numbers(op, reference))
    _triton_modules[op] = reference.__module__.replace(".reference", ".triton_kernels")
    _library.impl(op, _references[op], "CompositeExplicitAutograd")
    if composed is not None:
        _composed[op] = composed
        _library.impl(op, composed, "CPU")
        _library.impl(op, composed, "CUDA")
    elif not _compiled_for_cuda(op):
        _library.impl(op, _triton_kernel(op), "CUDA")


def ops() -> dict[str, bool]:
    """Every op that has a reference, and whether it is composed of others in Python instead of compiled."""
    return {op: op in _composed for op in _references}


def _compiled_for_cuda(op: str) -> bool:
    return bool(build_info().get("cuda")) and torch._C._dispatch_has_kernel_for_dispatch_key(
        f"{NAMESPACE}::{op}", "CUDA"
    )


def _triton_kernel(op: str) -> Function:
    """The Triton implementation of `op`; triton itself is imported at the first call."""
    if op in _composed:
        return _composed[op]

    def kernel(*args: object) -> object:
        reason = unavailable("triton")
        if reason is not None:
            raise RuntimeError(f"{op}: the backend 'triton' cannot run: {reason}")
        return getattr(importlib.import_module(_triton_modules[op]), op)(*with_words(op, args))

    return kernel


def unavailable(backend: str) -> str | None:
    """Why `backend` cannot run in this process; None if it can."""
    if backend not in BACKENDS:
        return f"expected one of {', '.join(BACKENDS)}"
    if backend == "cuda":
        if not build_info().get("cuda"):
            return "the library was built without CUDA kernels (see VFI_KERNELS_CUDA in docs/backends.md)"
        return _no_gpu(torch.version.cuda) or _not_compiled_for_gpus()
    if backend == "triton":
        if importlib.util.find_spec("triton") is None:
            return "triton is not installed"
        return None if os.environ.get("TRITON_INTERPRET") == "1" else _no_gpu(torch.version.cuda or torch.version.hip)
    return None


def _no_gpu(version: str | None) -> str | None:
    """`version`: of the GPU's own library, in this torch."""
    if version is None:
        return "this torch is a CPU build" if torch.version.hip is None else "this torch is for AMD's GPUs"
    return None if torch.cuda.is_available() else "torch finds no GPU"


def _not_compiled_for_gpus() -> str | None:
    archs = build_info()["cuda_archs"]
    for n in range(torch.cuda.device_count()):
        capability = torch.cuda.get_device_capability(n)
        if not any(_runs(arch, capability) for arch in archs):
            name = torch.cuda.get_device_name(n)
            listed = ", ".join(archs)
            return f"the CUDA kernels are for compute capability {listed}, {name} has {capability[0]}.{capability[1]}"
    return None


def _runs(arch: str, gpu: tuple[int, int]) -> bool:
    """Whether a GPU runs what was compiled for `arch`: 8.0 and 10.0f if its major version is that and its minor version
    not older; 8.0+PTX if its version is not older; 9.0a if its version is that."""
    major, minor = map(int, arch.removesuffix("+PTX").rstrip("af").split("."))
    if arch.removesuffix("+PTX").endswith("a"):
        return gpu == (major, minor)
    same_major = gpu[0] == major and gpu[1] >= minor
    return same_major or (arch.endswith("+PTX") and "f" not in arch and gpu >= (major, minor))


def prefer_triton_on_old_gpus() -> None:
    """Triton takes over where the compiled kernels are for newer GPUs than a present one, as is known once CUDA is
    initialised; and for AMD's GPUs, which torch calls CUDA, too."""

    def decide() -> None:
        if _not_compiled_for_gpus() is not None:
            _overrides.append(_override({"CUDA": _triton_kernel}))

    if build_info().get("cuda") and torch.version.hip is not None:
        _overrides.append(_override({"CUDA": _triton_kernel}))
    elif build_info().get("cuda") and torch.version.cuda is not None:
        torch.cuda._lazy_call(decide)


@contextlib.contextmanager
def use_backend(backend: Backend) -> Iterator[None]:
    """Runs every op with one backend, in the whole process, until the block ends.

    Args:
        backend: "reference" (plain PyTorch, any device), "cpp" (CPU), "cuda" or "triton" (GPU; Triton also on the CPU
            if TRITON_INTERPRET=1 was set before triton was imported).

    Raises:
        ArgumentError: if the backend cannot run here, with the reason; and from an op, if its tensors are on a device
            that the backend does not serve.
    """
    override = _choose(backend)
    try:
        yield
    finally:
        override._destroy()


def apply_environment() -> None:
    """Applies VFI_KERNELS_BACKEND, if set, for the life of the process."""
    backend = os.environ.get("VFI_KERNELS_BACKEND")
    if backend:
        _overrides.append(_choose(backend))


def _choose(backend: str) -> torch.library.Library:
    reason = unavailable(backend)
    if reason is not None:
        raise ArgumentError(f"use_backend: the backend '{backend}' cannot run: {reason}")
    if backend == "reference":
        return _override({"CPU": _references.__getitem__, "CUDA": _references.__getitem__})
    if backend == "triton":
        on_cpu = _triton_kernel if os.environ.get("TRITON_INTERPRET") == "1" else _refusal(backend, "cpu")
        return _override({"CPU": on_cpu, "CUDA": _triton_kernel})
    other = "CUDA" if backend == "cpp" else "CPU"
    return _override({other: _refusal(backend, other.lower())})


def _refusal(backend: str, device: str) -> Callable[[str], Function]:
    def make(op: str) -> Function:
        def kernel(*args: object) -> object:
            raise RuntimeError(f"{op}: the backend '{backend}' was chosen, but the tensors are on {device}")

        return kernel

    return make


def _override(kernels: dict[str, Callable[[str], Function]]) -> torch.library.Library:
    """Registers kernels[key](op) over what is there, until the returned library is destroyed."""
    library = torch.library.Library(NAMESPACE, "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Warning only once for all operators")  # overriding is the purpose
        for op in _references:
            for key, kernel in kernels.items():
                library.impl(op, kernel(op), key, allow_override=True)
    return library
