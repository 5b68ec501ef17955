"""VFI_KERNELS_LOG=1: every call of an op prints a line to stderr before it runs, gradients included.

    vfi_kernels: backward_warp(image=float32 cpu (1, 3, 4, 4) strides (48, 16, 4, 1), flow=..., padding_mode='border')

Arguments have the names of the public functions. What the op is given besides stands behind a semicolon.
The line is there when a kernel crashes. It is written by a kernel of the dispatch key BackendSelect, which torch asks
after autograd and before any backend; without the variable nothing is registered, and no call costs more.
"""

import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from vfi_kernels._arguments import dtype_name
from vfi_kernels._autograd import NAMESPACE
from vfi_kernels._options import with_words
from vfi_kernels._types import Function, Options
from vfi_kernels.ops.correlation.reference import PAIRS

VARIABLE = "VFI_KERNELS_LOG"
NAMES = {"inputs": "image", "keyframes": "keyframe_flows"}  # what a schema calls otherwise than the public functions
SETTINGS = ("deterministic", "allow_tf32", "keep_weight", "height", "width")  # not arguments, but torch's, or follow
MEMORY_FORMATS = {None: torch.preserve_format, True: torch.channels_last, False: torch.contiguous_format}
_KEY = "BackendSelect"
_library: torch.library.Library | None = None  # kept for the life of the process


def apply_environment(ops: Iterable[str]) -> None:
    """Logs `ops` if the environment asks for it; RuntimeError if it asks for what is neither 0 nor 1."""
    asked = os.environ.get(VARIABLE, "0")
    if asked not in ("", "0", "1"):
        raise RuntimeError(f"vfi_kernels: expected {VARIABLE} to be 0 or 1, got {asked}")
    if asked == "1":
        global _library
        _library = torch.library.Library(NAMESPACE, "IMPL")
        for op in ops:
            _library.impl(op, _logged(op), _KEY, with_keyset=True)


def _logged(op: str) -> Function:
    target = getattr(torch.ops.vfi_kernels, op).default
    arguments = target._schema.arguments
    below = torch._C._dispatch_keyset_full_after(getattr(torch._C.DispatchKey, _KEY))

    def kernel(keyset: torch._C.DispatchKeySet, *args: object) -> object:
        values = with_words(op, [*args, *(a.default_value for a in arguments[len(args) :])])  # torch drops defaults
        print(line(op, {a.name: v for a, v in zip(arguments, values)}), file=sys.stderr, flush=True)
        return target.redispatch(keyset & below, *args)

    return kernel


def line(op: str, values: Options) -> str:
    """A call as the public function of this name would be called, then what stands for no argument of it."""
    arguments: list[str] = []
    rest: list[str] = []
    for name, value in as_public(values).items():
        (rest if name in SETTINGS else arguments).append(f"{name}={described(value)}")
    return f"vfi_kernels: {op}({'; '.join(', '.join(part) for part in (arguments, rest) if part)})"


def as_public(values: Options) -> Options:
    """By the names that the public functions have; those of a gradient after grad_ and need_, too."""
    public = {}
    for name, value in values.items():
        before, prefix, after = name.rpartition("grad_" if name.startswith("grad_") else "need_")
        public[f"{before}{prefix}{NAMES.get(after, after)}"] = value
    if isinstance(images := public.get("image"), (list, tuple)) and len(images) == 1:
        public["image"] = images[0]
    if isinstance(keyframes := public.get("keyframe_flows"), Tensor):
        public["keyframe_flows"] = keyframes.unflatten(1, (-1, 2))
        public["knots"] = Knots(public.pop("first"), public.pop("step"))
    if (experts := public.pop("experts", None)) is not None:
        public["expert"] = experts
    if (sides := public.pop("sides", None)) is not None:
        public |= dict(zip(PAIRS, zip(sides[::2], sides[1::2])))
    if public.get("activation") == "none":
        public["activation"] = None
    if "halo" in public and "size" not in public:
        public["memory_format"] = MEMORY_FORMATS[public.pop("channels_last")]
    return public


class Knots(NamedTuple):
    """Times of the keyframes."""

    first: float
    step: float

    def __repr__(self) -> str:
        return f"{self.first:g} + {self.step:g} k"


def described(value: object) -> str:
    """A tensor by what a kernel has to know of it, anything else as Python shows it."""
    if isinstance(value, Tensor):
        return f"{dtype_name(value)} {value.device} {tuple(value.shape)} strides {tuple(value.stride())}"
    if isinstance(value, (list, tuple)) and not isinstance(value, Knots):
        return f"[{', '.join(described(v) for v in value)}]"
    return repr(value)
