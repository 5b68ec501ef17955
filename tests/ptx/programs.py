"""Small PTX programs for the simulator's own tests: kernels of a few lines, run on arrays."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

from vfi_kernels.bench import simulator

RAN = []  # the texts that ran to their end
HEAD = ".version 8.4\n.target sm_90\n.address_size 64\n"
BITS = {1: "b16", 2: "b16", 4: "b32", 8: "b64"}  # the register for an element of so many bytes


def module():
    """The simulator; its kernels are those of the last run()."""
    simulator.forget()
    return sys.modules.get(simulator.MODULE) or simulator.load("9.0", ops=())


def entry(body, parameters, name="kernel", registers=(), directives=""):
    """An entry with pointers p0, p1 ... in %p0, %p1 ..., and %t, the thread in the grid."""
    listed = ",\n".join(f"  .param .{kind} {name}_{n}" for n, kind in enumerate(parameters))
    loads = [
        f"ld.param.{k} %p{n}, [{name}_{n}];" + (f" cvta.to.global.u64 %p{n}, %p{n};" if k == "u64" else "")
        for n, k in enumerate(parameters)
    ]
    own = [f".reg .{'b64' if k == 'u64' else 'b32'} %p{n};" for n, k in enumerate(parameters)]
    own += [f".reg .{kind} {names};" for kind, names in registers]
    head = ["mov.u32 %t, %ctaid.x;", "mov.u32 %b, %ntid.x;", "mov.u32 %l, %tid.x;", "mad.lo.s32 %t, %t, %b, %l;"]
    lines = [".reg .b32 %t, %b, %l;", *own, *loads, *head, body, "ret;"]
    text = "\n  ".join(lines)
    return f".visible .entry {name}(\n{listed})\n{directives}{{\n  {text}\n}}\n"


def run(text, *arguments, name="kernel", grid=1, block=32, shared=0):
    """Runs an entry of `text`, PTX without a head. Arguments: arrays, or ints for .u32."""
    m = module()
    m.forget_modules()
    m.set_seed(0)
    m.set_races(True)
    m.load_text(HEAD + text, "test")
    packed = [a if isinstance(a, np.ndarray) else struct.pack("<I", a) for a in arguments]
    m.run(name, [grid, 1, 1], [block, 1, 1], shared, packed)
    RAN.append(text)
    (counts,) = m.counts()
    return counts


def address(pointer, size, index="%t", to="%a"):
    """Lines that put pointer + index * size into `to`."""
    return f"mul.wide.u32 {to}, {index}, {size}; add.s64 {to}, {to}, {pointer};"


def elementwise(instruction, inputs, out, name="kernel"):
    """A kernel that computes out[t] from x0 = inputs[0][t] ... by `instruction`, which sets y."""
    size = [a.dtype.itemsize for a in inputs]
    registers = [("b64", "%a"), ("pred", "p, q"), (BITS[out.dtype.itemsize], "y")]
    registers += [(BITS[s], f"x{n}") for n, s in enumerate(size)]
    lines = [f"{address(f'%p{n}', s)} ld.global.b{8 * s} x{n}, [%a];" for n, s in enumerate(size)]
    n = len(inputs)
    lines += [instruction, address(f"%p{n}", out.dtype.itemsize), f"st.global.b{8 * out.dtype.itemsize} [%a], y;"]
    return entry("\n  ".join(lines), ["u64"] * (n + 1), name, registers)


def apply(instruction, *inputs, dtype=None):
    """What `instruction` gives for every element; 32 threads a block."""
    out = np.zeros(inputs[0].shape, dtype or inputs[0].dtype)
    assert inputs[0].size % 32 == 0
    run(elementwise(instruction, inputs, out), *inputs, out, grid=inputs[0].size // 32)
    return out


def assemble(texts, folder):
    """ptxas takes them: what the tests run is PTX."""
    from toolkit import find_toolkit

    home, _ = find_toolkit(Path("nowhere"))
    file = folder / "program.ptx"
    file.write_text(HEAD + "".join(named(text, f"kernel{n}") for n, text in enumerate(texts)))
    command = [home / "bin/ptxas", "-arch=sm_90", file, "-o", folder / "program.cubin"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout


def named(text, name):
    """The same entry under another name."""
    return re.sub(r"\bkernel\b", name, re.sub(r"\bkernel_", f"{name}_", text))
