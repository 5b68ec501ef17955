"""Example calls of every schema in torch.ops.vfi_kernels, found by running CASES: a new op is among them by itself."""

import functools
import re
import sys

import torch
from compare import forward, gradients, make_cotangents

import vfi_kernels as vk
import vfi_kernels.testing as cases

CASES = cases.generic_cases()
SHAPE = (2, 3, 7, 9)


def make(case, shape=SHAPE, dtype=torch.float32, **options):
    return case.make_inputs(*shape, dtype=dtype, generator=torch.Generator().manual_seed(3), **options)


def arguments_of(function, call, *arguments):
    """What `function` gets while `call` runs."""
    seen = []

    def watch(frame, event, _):
        if event == "call" and frame.f_code is function.__code__:
            seen.append(dict(frame.f_locals))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        call(*arguments)
    finally:
        sys.setprofile(before)
    return seen[0]


class RecordOps(torch.utils._python_dispatch.TorchDispatchMode):
    """Collects (name, args, kwargs) of every vfi_kernels op that runs."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "vfi_kernels":
            self.calls.append((str(func), args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def first_cases():
    """One case of each op."""
    return list({c.op: c for c in reversed(CASES.values())}.values())


def schemas():
    """Those that compute with tensors, by the op's name."""
    schemas_by_op = {
        s.name.split("::")[1]: s for s in torch._C._jit_get_all_schemas() if s.name.startswith("vfi_kernels::")
    }
    for op in ("give_results", "patch_rest"):  # which keeps them, or leaves a part of its result to its caller
        del schemas_by_op[op]
    return {name: s for name, s in sorted(schemas_by_op.items()) if any("Tensor" in str(a.type) for a in s.arguments)}


def mutated(schema):
    """Which arguments an op writes into."""
    return [n for n, a in enumerate(schema.arguments) if a.alias_info is not None and a.alias_info.is_write]


@functools.cache
def calls():
    """schema -> a list of arguments of calls. An op of tests that no case runs has those of the one it is the in-place
    form of."""
    recorded = []
    with RecordOps(recorded):
        vk.patch_indices(torch.ones(1, 2, 3, dtype=torch.bool))
        for case in first_cases():
            forward(case.call, make(case))
            gradients(case.call, make(case), make_cotangents(case.call, make(case)))
    arguments_by_op = {name: [] for name in schemas()}
    for name, args, _ in recorded:
        arguments_by_op[name.split(".")[1]].append(cases.map_tensors(lambda t: t.detach(), args))
    for name, listed in arguments_by_op.items():
        listed += [] if listed else arguments_by_op[name.removesuffix("_")]
        assert listed, f"no case runs {name}"
    return arguments_by_op


def expect_one_sentence(error, *starts):
    """`<op>: expected ..., got ...` or `; use ...`, on one line, of one of the named ops."""
    text = str(error)
    assert "\n" not in text, text
    assert re.match(rf"({'|'.join(map(re.escape, starts))}): expected .+(, got |; use ).+", text), text
