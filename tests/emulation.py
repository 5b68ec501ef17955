"""The CUDA kernels emulated on the CPU (csrc/testing), as one more implementation of every op."""

import contextlib
import warnings
from collections.abc import Iterator

import torch
import vfi_kernels_testing as native
from worded import WordedOps

from vfi_kernels import backends
from vfi_kernels._autograd import NAMESPACE

EMULATED = "vfi_emulated"
OPS = [op for op, composed in backends.ops().items() if not composed]

_schemas = torch.library.Library(EMULATED, "DEF")
for _op in OPS:
    _schema = str(getattr(getattr(torch.ops, NAMESPACE), _op).default._schema)
    _schemas.define(_schema.removeprefix(f"{NAMESPACE}::"))


def emulated_op(op: str):
    """The emulated kernel of `op`; takes CPU tensors, and words for options."""
    return getattr(WordedOps(EMULATED), op)


@contextlib.contextmanager
def emulated_cuda(seed: int = 0) -> Iterator[None]:
    """Inside, the ops of vfi_kernels run their CUDA kernels, emulated, on CPU tensors, in the order of `seed`."""
    library = torch.library.Library(NAMESPACE, "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators")  # overriding is the purpose
        for op in OPS:
            library.impl(op, getattr(getattr(torch.ops, EMULATED), op).default, "CPU", allow_override=True)
    native.set_seed(seed)
    try:
        yield
    finally:
        native.set_seed(0)
        library._destroy()


def in_a_way(request, monkeypatch) -> Iterator[str]:
    """The body of a fixture: ops run emulated kernels, which scatter as its parameter says, atomic or deterministic."""
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: request.param == "deterministic")
    with emulated_cuda(seed=1):
        yield request.param
