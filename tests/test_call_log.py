"""VFI_KERNELS_LOG: what a call was given, and nothing at all without it."""

import inspect
import os
import re
import subprocess
from pathlib import Path

import torch
from op_calls import calls, schemas
from processes import warm_python

import vfi_kernels as vk
from vfi_kernels import _call_log, backends
from vfi_kernels._options import with_words

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import torch, vfi_kernels as vk
image, flow = torch.ones(1, 3, 4, 5, requires_grad=True), torch.zeros(1, 2, 4, 5)
out = vk.backward_warp(image.transpose(2, 3), flow.transpose(2, 3))
out.sum().backward()
a, b = vk.splat([image.detach(), image.detach().half()], flow, mode="average")
torch.func.vmap(vk.correlation)(torch.ones(2, 1, 3, 4, 5), torch.ones(2, 1, 3, 4, 5))
with torch.inference_mode():
    torch.compile(vk.backward_warp, backend="aot_eager")(image, flow)
vk.backward_warp(image.detach().double(), flow)
assert torch.equal(image.grad, torch.ones_like(image)) and torch.equal(a, image) and torch.equal(b, image.half())
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess:
    search = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": search, **environment}
    return subprocess.run([*warm_python(), "-c", program], capture_output=True, text=True, env=variables)


def test_every_call_is_a_line():
    done = run(PROGRAM, VFI_KERNELS_LOG="1")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("vfi_kernels: ")]
    called = [line.split("(")[0].removeprefix("vfi_kernels: ") for line in lines]
    assert called == ["backward_warp", "backward_warp_grad", "splat", "correlation", "backward_warp", "backward_warp"]
    first, splat, folded, last = lines[0], lines[2], lines[3], lines[5]
    assert "=float32 cpu (1, 3, 5, 4) strides (60, 20, 1, 5), " in first and "='border')" in first
    assert "image=[float32 cpu (1, 3, 4, 5) strides (60, 20, 5, 1), float16 cpu" in splat and "mode='average'" in splat
    assert splat.endswith("; keep_weight=False, deterministic=False)")
    assert "=float32 cpu (2, 3, 4, 5)" in folded and "=float64 cpu" in last


def test_the_names_are_those_of_the_public_functions():
    """Of every op, before the semicolon; but for those of a gradient that the forward made, or that are asked for."""
    told = {}
    for op, listed in calls().items():
        for arguments in listed:
            values = zip((a.name for a in schemas()[op].arguments), with_words(op, arguments))
            inside = re.fullmatch(rf"vfi_kernels: {op}\((.*)\)", _call_log.line(op, dict(values)))[1]
            told.setdefault(op, set()).update(re.findall(r"(?:^|, )(\w+)=", inside.partition("; ")[0]))
    assert {*told} == {*backends.ops()} and told["splat"] >= {"image", "flow", "metric", "mode", "holes"}
    assert told["trajectory_warp"] >= {"image", "keyframe_flows", "taus", "knots", "padding_mode"}
    for op, names in told.items():
        own = {*inspect.signature(vars(vk)[op.removesuffix("_grad")]).parameters}
        if op.endswith("_grad"):
            own |= {f"{kind}_{name}" for kind in ("need", "grad") for name in (*own, "out", "outs", "weight", "mask")}
            own |= {"outs", "weight", "shift", "summed", "size", "channels_last", "patch"}
        assert names <= own, (op, names - own)


def test_a_call_that_fails_was_told_before():
    program = "import torch, vfi_kernels as vk; vk.backward_warp(torch.ones(1, 3, 4, 5), torch.ones(1, 3, 4, 5))"
    *_, error = run(program, VFI_KERNELS_LOG="1").stderr.splitlines()
    assert "expected flow of shape" in error
    assert "vfi_kernels: backward_warp(" in run(program, VFI_KERNELS_LOG="1").stderr.splitlines()[0]


def test_a_wrong_value_is_an_error():
    done = run("import vfi_kernels", VFI_KERNELS_LOG="yes")
    assert done.returncode == 1 and "expected VFI_KERNELS_LOG to be 0 or 1, got yes" in done.stderr.splitlines()[-1]


def test_without_it_no_call_passes_through_the_log(capfd):
    vk.backward_warp(torch.ones(1, 3, 4, 5), torch.zeros(1, 2, 4, 5))
    assert capfd.readouterr() == ("", "")
    for op in backends.ops():
        assert not torch._C._dispatch_has_kernel_for_dispatch_key(f"vfi_kernels::{op}", "BackendSelect")
