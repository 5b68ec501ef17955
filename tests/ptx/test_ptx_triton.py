"""The Triton kernels on the simulator: what Triton compiles for sm_80 gives the results of the CPU, and is counted."""

import json
import os
import subprocess
import sys

import pytest
from gpu_check_stand_ins import ROOT

pytest.importorskip("triton")

PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
from compare import assert_near, forward, gradients, oracle_forward, oracle_gradients
from vfi_kernels.bench import triton_simulator
from vfi_kernels.testing import load_cases
case, dtype, size = load_cases()[sys.argv[2]], getattr(torch, sys.argv[3]), json.loads(sys.argv[4])
arguments = case.make_inputs(*size, dtype=dtype, generator=torch.Generator().manual_seed(3))
with triton_simulator.simulated() as counts:
    outs = forward(case.call, arguments)
    ones = [torch.ones_like(out) for out in outs]
    found = outs + gradients(case.call, arguments, ones)
    kernels = counts.kernels()
wanted = oracle_forward(case.call, arguments) + oracle_gradients(case.call, arguments, ones)
for got, expected in zip(found, wanted):
    assert_near(got, expected, slack=4, dtype=dtype)
print(json.dumps([[k["name"], k["lanes"], k["registers"], k["tensor_multiplications"]["half"]] for k in kernels]))
"""


@pytest.mark.parametrize(
    ("case", "dtype", "size", "products"),
    [
        ("backward_warp-border", "float32", (1, 3, 9, 20), False),
        pytest.param("splat-softmax", "float32", (1, 3, 9, 20), False, marks=pytest.mark.nightly),
        pytest.param("modulated_deform_conv2d-8", "float16", (1, 64, 3, 21), True, marks=pytest.mark.nightly),
    ],
)
def test_results_and_counts(case, dtype, size, products):
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "python")))
    environment = {**os.environ, "TRITON_INTERPRET": "0", "PYTHONPATH": paths}
    command = [sys.executable, "-c", PROGRAM, str(ROOT / "tests"), case, dtype, json.dumps(size)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    kernels = json.loads(done.stdout.splitlines()[-1])
    assert kernels and all(lanes > 100 and registers > 8 for _, lanes, registers, _ in kernels)
    assert any(multiplications for *_, multiplications in kernels) == products
