"""Every Triton kernel compiles to machine code for the GPUs that the package is built for; no GPU is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from triton_calls import kernel_names

TESTS = Path(__file__).resolve().parent
DTYPES = ("float32", "float16", "bfloat16", "float64")
CONDITIONS = [(90, "first", ("float16",)), *[(capability, "each", DTYPES) for capability in (80, 90, 100)]]


@pytest.mark.nightly
@pytest.mark.parametrize("capability, layouts, dtypes", CONDITIONS)
def test_every_kernel_compiles(capability, layouts, dtypes, tmp_path):
    path = os.pathsep.join(filter(None, [str(TESTS.parent), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        [sys.executable, str(TESTS / "triton_compile.py"), str(capability), layouts, *dtypes],
        env=os.environ | {"PYTHONPATH": path, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    compiled = json.loads(run.stdout.splitlines()[-1])
    missing = kernel_names() - set(compiled)
    assert not missing, f"no call of tests/triton_calls.py launches {sorted(missing)}"
    # The dtypes in two layouts, or in the first, with signatures of their own, for all that reads or writes an image.
    without_image = {
        "_adacof_cell_kernel", "_cell_kernel", "_correlation_windows_kernel", "_deform_cell_kernel",
        "_deform_ordered_kernel", "_list_cells_kernel", "_patch_indices_kernel", "_span_kernel", "_target_shift_kernel",
    }  # fmt: skip
    least = len(dtypes) * (2 if layouts == "each" else 1)
    few = {name: count for name, count in compiled.items() if count < least and name not in without_image}
    assert not few, f"launched with fewer signatures than dtypes and layouts: {few}"
