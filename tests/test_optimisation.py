"""The compiler's level of optimisation changes no bit: what is fused says fma(), and nothing else is."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from levels import LEVELS
from test_build import ROOT, newest_build

pytestmark = [
    pytest.mark.xdist_group("builds"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads the ninja file of a build on Linux"),
]
PROGRAM = """
import importlib.util, sys, torch
spec = importlib.util.spec_from_file_location("vfi_kernels._C", sys.argv[1])
sys.modules["vfi_kernels._C"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["vfi_kernels._C"])
from compare import forward, gradients, make_cotangents
from op_calls import CASES, make
torch.set_num_threads(1)
found = []
for case in CASES.values():
    for shape in ((2, 3, 7, 9), (1, 5, 6, 40)):
        for dtype in (torch.float32, torch.float64):
            arguments = make(case, shape, dtype)
            found += forward(case.call, arguments)
            found += gradients(case.call, arguments, make_cotangents(case.call, arguments))
torch.save([t.detach() for t in found], sys.argv[2])
"""


def edges(folder: Path) -> dict[str, tuple[str, str]]:
    """Object -> source and flags, of the compiler's edges."""
    text = (folder / "build.ninja").read_text()
    edges_of_build = re.findall(r"^build (\S+\.o): cxx (\S+)[^\n]*\n  flags = (.*)$", text, re.MULTILINE)
    return {name: (source, flags) for name, source, flags in edges_of_build}


def library_at(folder: Path, target: Path, chosen: re.Pattern) -> Path:
    """The library of a ninja folder, in which the objects that match were compiled with -O1."""
    text = (folder / "build.ninja").read_text()
    objects, libraries = re.search(r"^build vfi_kernels\._C\.so: link (.*)\n  flags = (.*)$", text, re.M).groups()
    (compiler,) = set(re.findall(r"command = (.*?) -shared", text))
    linked, compiled = [], edges(folder)
    for name in objects.split():
        if chosen.search(name):
            source, flags = compiled[name]
            built = target / name.replace("/", "-")
            command = [*shlex.split(compiler), *shlex.split(flags), "-O1", "-w", "-c", source, "-o", str(built)]
            subprocess.run(command, cwd=folder, check=True)
            linked.append(str(built))
        else:
            linked.append(name)
    assert any(str(target) in name for name in linked)
    command = [*shlex.split(compiler), "-shared", *linked, "-o", str(target / "_C.so"), *shlex.split(libraries)]
    subprocess.run(command, cwd=folder, check=True)
    return target / "_C.so"


def results(library: Path, level: str, target: Path) -> list[torch.Tensor]:
    search = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": search, "VFI_KERNELS_CPU": level}
    done = subprocess.run([sys.executable, "-c", PROGRAM, library, target], env=env, capture_output=True, text=True)
    if "this CPU's best level is" in done.stderr:
        pytest.skip(f"this CPU has no {level}")
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(target)


def check(level: str, objects: str, folder: Path) -> None:
    plain = library_at(newest_build(), folder, re.compile(objects))
    expected = results(ROOT / "vfi_kernels/_C.abi3.so", level, folder / "optimised.pt")
    for got, wanted in zip(results(plain, level, folder / "plain.pt"), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS[1:2])
def test_sums_of_a_scatter_do_not_depend_on_optimisation(level, tmp_path):
    check(level, rf"^ops/splat/splat.*_simd\.{level}\.o$", tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("level", LEVELS)
def test_no_kernel_depends_on_optimisation(level, tmp_path):
    check(level, rf"\.{level}\.o$|_cpu\.o$", tmp_path)
