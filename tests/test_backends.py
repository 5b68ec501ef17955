"""Which implementation runs, and what an explicit choice says when it cannot."""

import importlib
import os
import subprocess
from pathlib import Path

import pytest
import torch
from processes import warm_python

import vfi_kernels as vk
from vfi_kernels import backends

ROOT = Path(__file__).resolve().parents[1]
INPUTS = torch.rand(1, 3, 4, 5), torch.rand(1, 2, 4, 5)


def python(code, **environment):
    """Runs `code` in a fresh interpreter; returns its result."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"PYTHONPATH": path} | environment
    return subprocess.run([*warm_python(), "-c", code], env=environment, capture_output=True, text=True)


def spy(monkeypatch, op):
    """Counts the calls of the reference of `op`."""
    calls = []
    function = backends._references[op]
    monkeypatch.setitem(backends._references, op, lambda *args: calls.append(op) or function(*args))
    return calls


def test_cpu_runs_the_compiled_kernel_unless_told_otherwise(monkeypatch):
    calls = spy(monkeypatch, "backward_warp")
    vk.backward_warp(*INPUTS)
    assert not calls
    with vk.use_backend("reference"):
        vk.backward_warp(*INPUTS)
    assert len(calls) == 1
    vk.backward_warp(*INPUTS)
    assert len(calls) == 1


def test_choices_nest(monkeypatch):
    calls = spy(monkeypatch, "backward_warp")
    with vk.use_backend("reference"):
        with vk.use_backend("triton"):
            vk.backward_warp(*INPUTS)
        assert not calls
        vk.backward_warp(*INPUTS)
    assert len(calls) == 1


def test_a_choice_is_undone_after_an_error(monkeypatch):
    calls = spy(monkeypatch, "backward_warp")
    with pytest.raises(ZeroDivisionError), vk.use_backend("reference"):
        raise ZeroDivisionError
    vk.backward_warp(*INPUTS)
    assert not calls


def test_unknown_backend():
    message = "use_backend: the backend 'opencl' cannot run: expected one of reference, cpp, cuda, triton"
    with pytest.raises(RuntimeError, match=message), vk.use_backend("opencl"):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_says_why():
    reasons = r"'cuda' cannot run: (this torch is a CPU build|torch finds no GPU|.*without CUDA)"
    with pytest.raises(RuntimeError, match=reasons), vk.use_backend("cuda"):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_triton_without_gpu_or_interpreter_says_why():
    run = python("import vfi_kernels as vk\nwith vk.use_backend('triton'): pass")
    assert run.returncode == 1
    assert "ArgumentError: use_backend: the backend 'triton' cannot run: " in run.stderr.splitlines()[-1]


def test_environment_chooses():
    code = "import torch, vfi_kernels as vk, sys; vk.backward_warp(torch.rand(1, 1, 2, 2), torch.rand(1, 2, 2, 2))"
    code += "; print('triton' in sys.modules)"
    assert python(code, VFI_KERNELS_BACKEND="triton", TRITON_INTERPRET="1").stdout.strip() == "True"
    assert python(code, VFI_KERNELS_BACKEND="reference").stdout.strip() == "False"
    wrong = python(code, VFI_KERNELS_BACKEND="fast")
    assert "the backend 'fast' cannot run: expected one of" in wrong.stderr.splitlines()[-1]


def test_cpu_level_is_chosen_by_the_environment():
    code = "from vfi_kernels import backends; print(backends.cpu_level())"
    assert python(code, VFI_KERNELS_CPU="baseline").stdout.strip() == "baseline"
    wrong = python(code, VFI_KERNELS_CPU="sse9")
    assert wrong.returncode == 1 and "VFI_KERNELS_CPU" in wrong.stderr.splitlines()[-1]


def test_an_unknown_cpu_level_gets_its_sentence_from_every_op():
    """Also where threads ask first; mixture_lora is made of torch's products."""
    code = """
import torch
from vfi_kernels.testing import load_cases
cases = {c.op: c for c in load_cases().values() if c.op != "mixture_lora"}
for op, case in cases.items():
    shape = case.small[-1]
    try:
        case.call(*case.make_inputs(*shape, dtype=torch.float32, generator=torch.Generator()))
    except RuntimeError as error:
        print(op, error, sep="|")
    else:
        print(op, "accepted", sep="|")
"""
    lines = python(code, VFI_KERNELS_CPU="garbage").stdout.splitlines()
    said = "vfi_kernels: expected VFI_KERNELS_CPU to be baseline, avx2, avx512, amx, neon or neon_bf16, got garbage"
    assert len(lines) > 5 and {line.partition("|")[2] for line in lines} == {said}, lines


def test_import_brings_nothing_heavy():
    heavy = ("triton", "cv2", "matplotlib", "av", "skimage")
    code = f"import vfi_kernels, sys; print([m for m in {heavy} if m in sys.modules])"
    assert python(code).stdout.strip() == "[]"


def test_without_the_compiled_library_one_sentence_says_how_to_build(tmp_path):
    copied = tmp_path / "vfi_kernels"
    copied.mkdir()
    for name in ("__init__.py", "backends.py", "_types.py", "_arguments.py", "_options.py", "_autograd.py"):
        (copied / name).write_bytes((Path(backends.__file__).parent / name).read_bytes())
    # An editable install would find the library through its own import hook.
    code = "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]; "
    command, environment = [*warm_python(), "-c", code + "import vfi_kernels"], os.environ | {"PYTHONPATH": ""}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    last = run.stderr.splitlines()[-1]
    assert last.startswith("ImportError: vfi_kernels: expected the compiled library") and "pip install ." in last


def test_every_triton_module_is_importable():
    for module in set(backends._triton_modules.values()):
        importlib.import_module(module)


@pytest.mark.parametrize(
    "archs, gpu, runs",
    [
        (["8.0"], (8, 0), True),
        (["8.0"], (8, 9), True),
        (["8.6"], (8, 0), False),
        (["8.0"], (9, 0), False),
        (["8.0", "9.0"], (12, 0), False),
        (["8.0", "9.0", "10.0+PTX"], (12, 0), True),
        (["8.0", "9.0", "10.0+PTX"], (7, 5), False),
        (["8.0+PTX"], (9, 0), True),
        (["9.0a"], (9, 0), True),
        (["9.0a"], (10, 0), False),
        (["9.0a+PTX"], (10, 0), False),
        (["10.0a"], (10, 3), False),
        (["10.0f"], (10, 3), True),
        (["10.0f"], (12, 0), False),
        (["10.0f+PTX"], (12, 0), False),
    ],
)
def test_a_gpu_runs_what_was_compiled_for_it(monkeypatch, archs, gpu, runs):
    monkeypatch.setattr(backends, "build_info", lambda: {"cuda_archs": archs})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda n: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda n: "This GPU")
    sentence = f"the CUDA kernels are for compute capability {', '.join(archs)}, This GPU has {gpu[0]}.{gpu[1]}"
    assert backends._not_compiled_for_gpus() == (None if runs else sentence)


def run_filled(filled: bool, program: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "VFI_KERNELS_FILL_MEMORY" or filled}
    command = [*warm_python(), "-c", program]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("filled", [True, False])
def test_results_are_filled_where_tests_want_it(filled):
    """Through torch's empty, which knows of fill_uninitialized_memory."""
    program = """
import torch, vfi_kernels as vk
image, flow = torch.rand(1, 1, 4, 4), torch.zeros(1, 2, 4, 4)
with torch.profiler.profile() as profile:
    vk.backward_warp(image, flow)
print("aten::empty" in {event.key for event in profile.key_averages()})
"""
    assert run_filled(filled, program) == f"{filled}\n"


@pytest.mark.slow
def test_filled_or_not_results_have_one_layout():
    program = """
import torch
from op_calls import CASES
from vfi_kernels.testing import map_tensors, tensors
order = torch.channels_last
for case in CASES.values():
    for size in (*case.small, tuple(0 if n == 1 else n for n in case.small[0])):
        for last in (False, True):
            rng = torch.Generator().manual_seed(1)
            try:
                given = case.make_inputs(*size, dtype=torch.float32, generator=rng)
            except (RuntimeError, ValueError, ZeroDivisionError, IndexError):
                continue  # a case that has no empty inputs
            if last:
                given = map_tensors(lambda t: t.contiguous(memory_format=order) if t.dim() == 4 else t, given)
            try:
                outs = tensors(case.call(*given))
            except RuntimeError as error:
                outs = []
                print(error)
            print(case.name, size, last, [(t.shape, t.stride(), t.dtype, t.double().nansum().item()) for t in outs])
"""
    assert run_filled(False, program) == run_filled(True, program)
