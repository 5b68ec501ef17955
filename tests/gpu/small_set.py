"""Every kernel once on small inputs, for compute-sanitizer: `compute-sanitizer python3 tests/gpu/small_set.py`.

Both layouts, both ways to scatter, float32, float16 and bfloat16, odd sizes. The results are looked at by the tests,
not here. A line for each case and dtype, once its kernels are done.
"""

import torch

import vfi_kernels as vk
from vfi_kernels.testing import load_cases, map_tensors, tensors

SHAPE = (2, 12, 5, 37)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def channels_last(t: torch.Tensor) -> torch.Tensor:
    return t.contiguous(memory_format=torch.channels_last)


def run_all(device: str) -> int:
    """Calls every case forward and backward; returns how many calls that were."""
    calls = 0
    for dtype in DTYPES:
        for case in load_cases().values():
            generator = torch.Generator().manual_seed(3)
            planar = case.make_inputs(*SHAPE, dtype=dtype, generator=generator, device=device)
            for arguments in (planar, map_tensors(channels_last, planar)):
                for deterministic in (False, True):
                    torch.use_deterministic_algorithms(deterministic, warn_only=True)
                    leaves = map_tensors(lambda t: t.detach().requires_grad_(), arguments)
                    torch.autograd.grad([o.nan_to_num().sum() for o in tensors(case.call(*leaves))], tensors(leaves))
                    calls += 1
            if device == "cuda":
                torch.cuda.synchronize()
            print(f"small set case: {case.name} {dtype}", flush=True)
    return calls


if __name__ == "__main__":
    with vk.use_backend("cuda"):
        count = run_all("cuda")
    print(f"small set: {count} calls")
