"""The library's ops on another kind of processor: csrc/testing/player runs them under qemu, without torch.

A call: the op's name, a letter for each result (t: tensor, [: list of them), the arguments, and a letter for each
argument (w: written into). Numbers are int64, a text follows its length. An argument: t and a tensor, i and the bits of
a number, [ and a count and as many arguments, ? and an argument (an optional one that is given), n (one that is not).
A tensor: number of its dtype, of its dimensions, sizes, strides, and the bytes from its first element to its last.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from vfi_kernels import backends
from vfi_kernels._autograd import NAMESPACE
from vfi_kernels.bench.jobs import UsageError
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
NEEDS = {"aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu", QEMU: "qemu-user"}  # programs, by Debian's packages


def unavailable() -> str | None:
    """Why it cannot run here."""
    if not (ROOT / "setup.py").exists() or not (ROOT / "csrc" / "testing" / "player").is_dir():
        return "the player is built from a source checkout, and this is an installed package"
    missing = {program: package for program, package in NEEDS.items() if shutil.which(program) is None}
    if missing:
        return f"no {' and no '.join(missing)} (Debian: apt-get install {' '.join(missing.values())})"
    return None


@functools.cache
def built() -> Path:
    """The player for aarch64; what has changed is compiled. UsageError where nothing can be built."""
    import fcntl  # which Windows lacks

    reason = unavailable()
    if reason is not None:
        raise UsageError(f"the player cannot run: {reason}")
    (ROOT / "build").mkdir(exist_ok=True)
    with open(ROOT / "build" / "player.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one build at a time
        command = [sys.executable, "setup.py", "--quiet", "build_player"]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        print(done.stdout, file=sys.stderr)
        raise UsageError("the player cannot run: it was not built, as the compiler says above")
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


def packed(x: object, kind: str) -> bytes:
    """An argument whose type in the schema is `kind`."""
    if kind.startswith("Optional["):
        return b"n" if x is None else b"?" + packed(x, kind[len("Optional[") : -1])
    if isinstance(x, Tensor):
        return b"t" + packed_tensor(x)
    if isinstance(x, (list, tuple)):
        return b"[" + integer(len(x)) + b"".join(packed(part, "") for part in x)
    assert isinstance(x, (bool, int, float)), x
    return b"i" + (struct.pack("<d", x) if kind == "float" else integer(int(x)))


class Player:
    """A process on a `processor` of qemu's, with kernels of instruction set `level`; every call runs `times` times."""

    def __init__(self, level: str, times: int = 1, qemu: Sequence[str] = (), processor: str = "max") -> None:
        command = [QEMU, "-cpu", processor, *qemu, str(built()), str(times)]
        environment = {**os.environ, "VFI_KERNELS_CPU": level}
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def read(self, count: int) -> bytearray:
        assert self.process.stdout is not None
        got = bytearray(self.process.stdout.read(count))
        if len(got) < count:
            raise RuntimeError(f"the player ended with exit status {self.process.wait()}")
        return got

    def read_integer(self) -> int:
        return int(struct.unpack("<q", self.read(8))[0])

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

    def run(self, op: OpOverload, args: Sequence[object]) -> object:
        """The results of an op of torch.ops.vfi_kernels; what it writes into is written."""
        schema = op._schema
        every = [*args, *(a.default_value for a in schema.arguments[len(args) :])]
        writes = [a.alias_info is not None and a.alias_info.is_write for a in schema.arguments]
        kinds = "".join("[" if str(r.type).startswith("List") else "t" for r in schema.returns)
        call = text(schema.name.split("::")[1]) + text(kinds) + integer(len(every))
        call += b"".join(packed(x, str(a.type)) for x, a in zip(every, schema.arguments))
        self.write(call + text("".join("w" if w else "-" for w in writes)))
        if self.read(1) == b"!":
            raise RuntimeError(self.read(self.read_integer()).decode())
        results = [self.read_tensors() if kind == "[" else self.read_tensor() for kind in kinds]
        for x, written in zip(every, writes):
            if written:
                assert isinstance(x, Tensor)
                x.copy_(self.read_tensor())
        return results[0] if len(results) == 1 else tuple(results) if results else None

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise RuntimeError(f"the player ended with exit status {self.process.returncode}")


def same(results: object, others: object) -> bool:
    """All tensors bit for bit, but for the signs of zeros and what a NaN holds."""

    def bits(t: Tensor) -> Tensor:
        return torch.where(t.isnan(), torch.nan, t + 0).flatten().view(torch.uint8)

    pairs = zip(tensors(results), tensors(others), strict=True)
    return all(a.shape == b.shape and a.dtype == b.dtype and torch.equal(bits(a), bits(b)) for a, b in pairs)


class PlayedOps(TorchDispatchMode):
    """Every op of vfi_kernels runs in the player."""

    def __init__(self, player: Player) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.player = player

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Sequence[object] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        if func.namespace != NAMESPACE:
            return func(*args, **(kwargs or {}))
        assert not kwargs
        composed = backends._composed.get(func._schema.name.split("::")[1])
        if composed is None:
            return self.run(func, args)
        with self:  # Python, which calls other ops
            return composed(*args)

    def run(self, op: OpOverload, args: Sequence[object]) -> object:
        return self.player.run(op, args)
