"""Compiles every Triton kernel without a GPU, for the signatures that are launched:
`triton_compile.py CAPABILITY each|first DTYPE ...`: each dtype in both layouts, or in the first.

Run in a process of its own: interpreted and compiled kernels cannot share one. Prints a JSON object: kernel -> number
of cubins; fails if a kernel computes in double where no argument is double.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence

os.environ["TRITON_INTERPRET"] = "0"  # before the first import of triton

import torch
from triton.runtime import driver
from triton.runtime.jit import JITFunction
from triton_calls import launch_all

from vfi_kernels.bench.triton_simulator import NoGPU


def compile_all(capability: int, first_only: bool, dtypes: Sequence[torch.dtype]) -> dict[str, int]:
    driver.set_active(NoGPU(capability))
    kernels, announced = {}, []
    launch = JITFunction.run

    def compile_only(self, *args, grid, warmup, **options):
        kernel = launch(self, *args, grid=grid, warmup=True, **options)
        kernels[f"{self.fn.__name__} {kernel.hash}"] = kernel
        double = announced[-1] == torch.float64
        assert double or ".f64" not in kernel.asm["ptx"], f"{self.fn.__name__} computes in double"
        return kernel

    JITFunction.run = compile_only
    launch_all(announced.append, dtypes, first_only)
    for name, kernel in kernels.items():
        assert kernel.asm["cubin"][:4] == b"\x7fELF", name
    if capability >= 90:
        for scatter in ("_scatter_kernel", "_deform_columns_grad_kernel"):
            adds = [k.asm["ptx"] for name, k in kernels.items() if name.startswith(scatter)]
            assert any("add.v4.f32" in ptx for ptx in adds), f"no {scatter} adds four lanes at once"
    return dict(Counter(name.split()[0] for name in kernels))


if __name__ == "__main__":
    capability, way, *names = sys.argv[1:]
    print(json.dumps(compile_all(int(capability), way == "first", [getattr(torch, name) for name in names])))
