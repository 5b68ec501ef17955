"""Calls of every case, for a process whose kernels have sanitizers: widths around every size of a block, every
layout and dtype, forward and gradients, positions that are no number. Nothing is compared: the sanitizers judge."""

from collections.abc import Callable
from random import Random

import torch
from agreement import Trial
from random_calls import random_call
from torch import Tensor

import vfi_kernels.testing as cases
from vfi_kernels import backends
from vfi_kernels.testing import map_tensors, tensors

CASES = cases.generic_cases()
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
BLOCKS = (4, 8, 16, 32, 64, 128, 256)
WIDTHS = (1, 2, 3, *(block + n for block in BLOCKS for n in (-1, 0, 1)))


def channels_last(t: Tensor) -> Tensor:
    return t.contiguous(memory_format=torch.channels_last)


def stepped(t: Tensor) -> Tensor:
    return t.repeat_interleave(2, -1)[..., ::2]


LAYOUTS = (torch.clone, channels_last, stepped)


def call(case: cases.OpCase, width: int, dtype: torch.dtype, layout: Callable[[Tensor], Tensor], seed: int) -> None:
    """Forward and all gradients; every second call has positions that are no number or far away."""
    arguments = case.make_inputs(1, 5, 3, width, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    if case.flow is not None and seed % 2:
        flow = tensors(arguments[case.flow])[0].view(-1)
        flow[::7], flow[3::7], flow[5::7] = torch.nan, -torch.inf, 3e4
    leaves = map_tensors(lambda t: layout(t).requires_grad_(), arguments)
    outs = tensors(case.call(*leaves))
    torch.autograd.grad(outs, tensors(leaves), [torch.ones_like(o) for o in outs])


def run(ops: list[str] | None = None, widths: tuple[int, ...] = WIDTHS, seeds: int = 300) -> None:
    """Of the ops (all), and as many random calls of each."""
    chosen = [c for c in CASES.values() if ops is None or c.op in ops]
    number = 0
    for case in chosen:
        for width in widths:
            for dtype in DTYPES:
                for layout in LAYOUTS:
                    number += 1
                    call(case, width, dtype, layout, number)
    for op in sorted({c.op for c in chosen}):
        for seed in range(seeds):
            rng = Random(f"{op} {seed}")
            Trial(op, random_call(op, rng), rng).run("cpp")
    print(f"{number} calls, {backends.cpu_level()}")
