"""The heaviest kernels once each, under ncu: deform forward and grad_columns, scatter, correlation, routed_conv."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

import vfi_kernels as vk
from vfi_kernels.testing import load_cases, map_tensors, tensors

OPS = (
    ("modulated_deform_conv2d-8", (1, 64, 256, 448), torch.float16, True),
    ("splat-average", (1, 3, 1080, 1920), torch.float32, False),
    ("correlation", (1, 64, 128, 224), torch.float32, False),
    ("routed_conv2d-64", (1, 64, 1088, 2048), torch.float16, False),
)


def run_all(device: str, scale: int = 1) -> int:
    """Each op once in channels_last, with its gradients where that is what is heavy; returns how many ops that were."""
    cases = load_cases()
    for prefix, (b, c, h, w), dtype, backward in OPS:
        case = next(case for name, case in cases.items() if name.startswith(prefix))
        generator = torch.Generator().manual_seed(0)
        inputs = case.make_inputs(b, c, h // scale, w // scale, dtype=dtype, device=device, generator=generator)
        leaves = map_tensors(lambda t: t.contiguous(memory_format=torch.channels_last), inputs)
        if backward:
            leaves = map_tensors(lambda t: t.requires_grad_(t.is_floating_point()), leaves)
        out = tensors(case.call(*leaves))[0]
        if backward:
            out.sum().backward()
        print(f"profiled: {case.name}", flush=True)
    return len(OPS)


if __name__ == "__main__":
    with vk.use_backend("cuda"):
        run_all("cuda")
    torch.cuda.synchronize()
