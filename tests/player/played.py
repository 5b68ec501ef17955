"""The library's ops on another kind of processor: csrc/testing/player runs them under qemu, without torch.

A call: the op's name, a letter for each result (t: tensor, [: list of them), the arguments, and a letter for each
argument (w: written into). Numbers are int64, a text follows its length. An argument: t and a tensor, i and the bits of
a number, [ and a count and as many arguments, ? and an argument (an optional one that is given), n (one that is not).
A tensor: number of its dtype, of its dimensions, sizes, strides, and the bytes from its first element to its last.
"""

import functools
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vfi_kernels import backends
from vfi_kernels.testing import tensors

ROOT = Path(__file__).resolve().parents[2]
DTYPES = {
    torch.uint8: 0,
    torch.int32: 3,
    torch.int64: 4,
    torch.float16: 5,
    torch.float32: 6,
    torch.float64: 7,
    torch.complex64: 9,
    torch.complex128: 10,
    torch.bool: 11,
    torch.bfloat16: 15,
}
NUMBERS = {number: dtype for dtype, number in DTYPES.items()}
QEMU = "qemu-aarch64"


@functools.cache
def built() -> Path:
    """The player for aarch64; skips where its compiler or qemu is missing."""
    for program, package in (("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu"), (QEMU, "qemu-user")):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} (Debian: apt-get install {package})")
    import fcntl

    (ROOT / "build").mkdir(exist_ok=True)
    with open(ROOT / "build" / "player.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, "setup.py", "--quiet", "build_player"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return Path(json.loads(done.stdout.splitlines()[-1]))


def integer(x: int) -> bytes:
    return struct.pack("<q", x)


def text(x: str) -> bytes:
    return integer(len(x)) + x.encode()


def extent(t: Tensor) -> int:
    """Elements from the first to the last."""
    return 0 if t.numel() == 0 else 1 + sum((n - 1) * s for n, s in zip(t.shape, t.stride()))


def packed_tensor(t: Tensor) -> bytes:
    parts = [integer(n) for n in (DTYPES[t.dtype], t.dim(), *t.shape, *t.stride())]
    flat = t.detach().as_strided((extent(t),), (1,))
    return b"".join(parts) + flat.view(torch.uint8).numpy().tobytes()


def packed(x: Any, kind: str) -> bytes:
    """An argument whose type in the schema is `kind`."""
    if kind.startswith("Optional["):
        return b"n" if x is None else b"?" + packed(x, kind[len("Optional[") : -1])
    if isinstance(x, Tensor):
        return b"t" + packed_tensor(x)
    if isinstance(x, (list, tuple)):
        return b"[" + integer(len(x)) + b"".join(packed(part, "") for part in x)
    return b"i" + (struct.pack("<d", x) if kind == "float" else integer(int(x)))


class Player:
    """A process whose kernels are of instruction set `level`."""

    def __init__(self, level: str, times: int = 1, qemu: tuple[str, ...] = ()) -> None:
        command = [QEMU, "-cpu", "max", *qemu, str(built()), str(times)]
        environment = {**os.environ, "VFI_KERNELS_CPU": level}
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, count: int) -> bytearray:
        got = bytearray(self.process.stdout.read(count))
        assert len(got) == count, f"the player ended: {self.process.wait()}"
        return got

    def read_integer(self) -> int:
        return struct.unpack("<q", self.read(8))[0]

    def read_tensor(self) -> Tensor:
        dtype, dim = NUMBERS[self.read_integer()], self.read_integer()
        sizes = [self.read_integer() for _ in range(dim)]
        made = torch.empty_strided(sizes, [self.read_integer() for _ in range(dim)], dtype=dtype)
        if made.numel() > 0:
            flat = made.as_strided((extent(made),), (1,))
            flat.view(torch.uint8).copy_(torch.frombuffer(self.read(flat.nbytes), dtype=torch.uint8))
        return made

    def read_tensors(self) -> list[Tensor]:
        return [self.read_tensor() for _ in range(self.read_integer())]

    def run(self, op: torch._ops.OpOverload, args: tuple[Any, ...]) -> Any:
        schema = op._schema
        every = [*args, *(a.default_value for a in schema.arguments[len(args) :])]
        writes = [a.alias_info is not None and a.alias_info.is_write for a in schema.arguments]
        kinds = "".join("[" if str(r.type).startswith("List") else "t" for r in schema.returns)
        call = text(schema.name.split("::")[1]) + text(kinds) + integer(len(every))
        call += b"".join(packed(x, str(a.type)) for x, a in zip(every, schema.arguments))
        self.process.stdin.write(call + text("".join("w" if w else "-" for w in writes)))
        self.process.stdin.flush()
        if self.read(1) == b"!":
            raise RuntimeError(self.read(self.read_integer()).decode())
        results = [self.read_tensors() if kind == "[" else self.read_tensor() for kind in kinds]
        for x, written in zip(every, writes):
            if written:
                x.copy_(self.read_tensor())
        return results[0] if len(results) == 1 else tuple(results) if results else None

    def close(self) -> None:
        self.process.stdin.close()
        assert self.process.wait() == 0


def same(results: Any, others: Any) -> bool:
    """All tensors bit for bit, but for the signs of zeros and what a NaN holds."""

    def bits(t: Tensor) -> Tensor:
        return torch.where(t.isnan(), torch.nan, t + 0).flatten().view(torch.uint8)

    pairs = zip(tensors(results), tensors(others), strict=True)
    return all(a.shape == b.shape and a.dtype == b.dtype and torch.equal(bits(a), bits(b)) for a, b in pairs)


class PlayedOps(TorchDispatchMode):
    """Every op of vfi_kernels runs in the player."""

    def __init__(self, player: Player) -> None:
        super().__init__()
        self.player = player

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace != "vfi_kernels":
            return func(*args, **(kwargs or {}))
        assert not kwargs
        composed = backends._composed.get(func._schema.name.split("::")[1])
        if composed is None:
            return self.run(func, args)
        with self:  # Python, which calls other ops
            return composed(*args)

    def run(self, op: torch._ops.OpOverload, args: tuple[Any, ...]) -> Any:
        return self.player.run(op, args)
