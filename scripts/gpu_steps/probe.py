"""One small op per backend, forward and backward, each in a process of its own; prints a line of JSON for each.

python3 scripts/gpu_steps/probe.py              facts about the machine, then both backends
python3 scripts/gpu_steps/probe.py BACKEND      the op itself
"""

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[n]) for n in (1, 2)]

from gpu_steps.build import needed  # noqa: E402
from gpu_steps.process import ROOT, last_lines  # noqa: E402

# For one backend; its first call compiles with Triton, and in a rehearsal with nvcc.
LIMIT_S = 300 if os.environ.get("VFI_GPU_REHEARSAL") else 25
GLOBAL = {"TORCH_USE_RTLD_GLOBAL": "1"}


def op(backend: str) -> None:
    import torch

    import vfi_kernels as vk

    image = torch.randn(1, 3, 8, 8, device="cuda", requires_grad=True)
    flow = torch.randn(1, 2, 8, 8, device="cuda", requires_grad=True)
    with vk.use_backend(backend):
        out = vk.backward_warp(image, flow)
        torch.autograd.grad(out.sum(), (image, flow))
    torch.cuda.synchronize()


def attempt(backend: str, environment: dict[str, str]) -> str:
    """Why the op does not run; empty if it does."""
    command = [sys.executable, __file__, backend]
    try:
        settings = {**os.environ, **environment}
        done = subprocess.run(command, capture_output=True, text=True, env=settings, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"hung for {LIMIT_S} s"
    if done.returncode == 0:
        return ""
    died = f"died of signal {-done.returncode}: " if done.returncode < 0 else ""
    return died + last_lines(done.stderr, 1)


def try_backend(backend: str) -> dict:
    """A crash is tried again with torch's symbols visible to all: what weak symbols that did not bind need."""
    reason, with_global = attempt(backend, {}), False
    works = not reason
    if reason.startswith("died of signal"):
        works = with_global = not attempt(backend, GLOBAL)
        reason += f"; with TORCH_USE_RTLD_GLOBAL=1 it {'runs' if works else 'dies too'}"
    return {"backend": backend, "works": works, "reason": reason, "rtld_global": with_global}


def machine() -> dict:
    import torch

    from vfi_kernels import backends

    device = torch.cuda.get_device_properties(0)
    gpu = {"name": device.name, "capability": f"{device.major}.{device.minor}", "memory_gib": device.total_memory >> 30}
    library = next((ROOT / "vfi_kernels").glob("_C*.so"))
    versions = {"torch": torch.__version__, "torch_cuda": torch.version.cuda, "build": backends.build_info()}
    return {"gpu": gpu, "needed": needed(library), **versions}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        op(sys.argv[1])
    else:
        for name in ("cuda", "triton"):
            print(json.dumps(try_backend(name)), flush=True)
        print(json.dumps(machine()), flush=True)
