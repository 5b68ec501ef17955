"""The CUDA kernels emulated on the CPU (csrc/testing), as one more implementation of every op."""

import contextlib
import warnings
from collections.abc import Iterator

import torch
import vfi_kernels_testing as native
from worded import WordedOps

from vfi_kernels.registration import NAMESPACE

EMULATED = "vfi_emulated"
COMPOSED = ("trajectory_splat_grad", "trajectory_warp_grad")  # of other ops, in Python
GRADIENTS = (
    "backward_warp", "correlation", "mixture_lora", "modulated_deform_conv2d", "patch_gather", "patch_scatter",
    "routed_conv2d", "sample_trajectory", "splat", "trajectory_splat", "trajectory_warp", "warp_blend",
)  # fmt: skip
OPS = (
    *(op + end for op in GRADIENTS for end in ("", "_grad") if op + end not in COMPOSED),
    *("patch_indices", "patch_scatter_", "routed_conv2d_"),
)

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
