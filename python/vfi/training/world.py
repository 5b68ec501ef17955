"""The processes that train together: one, or those that torchrun or Ray started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """rank: of this process among `size`."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all must ask."""
        if self.size == 1:
            return flag
        flags = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags.item())

    def mean(self, values: Tensor) -> Tensor:
        """Over all processes; all must ask."""
        if self.size > 1:
            dist.all_reduce(values)
        return values / self.size


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The world that torchrun describes in the environment; NCCL between GPUs, gloo between CPUs."""
    if dist.is_initialized():  # by Ray Train
        own = torch.device(device)
        yield World(own, dist.get_rank(), dist.get_world_size())
        return
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(torch.device(device))
        return
    own = torch.device(device)
    if own.type == "cuda":
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield World(own, dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
