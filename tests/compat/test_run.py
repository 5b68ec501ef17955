"""`python -m vfi_kernels.compat run`: a script written for CuPy, torchvision and mmcv, none of which is here."""

import subprocess
from pathlib import Path

import torch
from compat import cuda_kernels
from processes import warm_python

import vfi_kernels as vk
from vfi_kernels import compat

SCRIPTS = Path(__file__).parent / "repositories" / "splatting"


def run(*arguments, **options):
    command = [*warm_python(), "-m", "vfi_kernels.compat", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_a_script_for_cupy_runs_unmodified(tmp_path):
    out = run("run", SCRIPTS / "interpolate.py", tmp_path / "out.pt")
    assert out.returncode == 0, out.stderr
    results = torch.load(tmp_path / "out.pt", weights_only=True)
    image, flow, metric, offset, weight = results["inputs"]
    expected = {
        "soft": compat.softsplat.softsplat(image, flow, metric, "soft"),
        "average": compat.softsplat.softsplat(image, flow, None, "avg"),
        "sum": vk.splat(image, flow, mode="sum"),
        "correlation": vk.correlation(image, image),
        "backwarp": vk.backward_warp(image, flow, padding_mode="zeros"),
        "deform": vk.modulated_deform_conv2d(image, offset, None, weight, padding=1),
    }
    for name, value in expected.items():
        torch.testing.assert_close(results[name], value, rtol=0, atol=1e-6)
    lines = out.stderr.splitlines()
    assert all(line.startswith("vfi_kernels.compat: ") for line in lines)
    rows = [line.removeprefix("vfi_kernels.compat: ").split() for line in lines]
    replaced = {row[1]: row[2] for row in rows if row[0] == "replaced"}
    assert replaced == {
        "softsplat.softsplat": "compat.softsplat.softsplat",
        "softsplat.FunctionSoftsplat": "compat.ebme.FunctionSoftsplat",
        "softsplat.softsplat_func": "compat.softsplat.softsplat_func.apply",
        "correlation._FunctionCorrelation": "compat.softsplat.FunctionCorrelation",
        "correlation.FunctionCorrelation": "compat.ebme.FunctionCorrelation",
        "__main__.backwarp": "compat.softsplat.backwarp",
    }


def test_arguments_exit_code_and_errors_are_those_of_the_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(sys.argv, __name__, __file__)\nsys.exit(7)\n")
    out = run("run", "--quiet", script, "--flag", "x")
    assert out.returncode == 7 and out.stderr == ""
    assert out.stdout == f"{[str(script), '--flag', 'x']} __main__ {script}\n"
    script.write_text("\n\nraise ValueError('mine')\n")
    out = run("run", "--quiet", script)
    assert out.returncode == 1 and f'File "{script}", line 3' in out.stderr and "ValueError: mine" in out.stderr


def test_other_names_of_a_stand_in_say_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import cupy\ncupy.zeros(3)\n")
    out = run("run", script)
    assert out.returncode == 1
    assert "'cupy' here is the stand-in of `python -m vfi_kernels.compat run`, which has no 'zeros'" in out.stderr


def test_no_script_is_one_sentence(tmp_path):
    out = run("run", tmp_path / "none.py")
    assert out.returncode == 2
    assert out.stderr == f"vfi_kernels.compat: expected a script, got {tmp_path / 'none.py'}, which is no file\n"


def test_importing_compat_pulls_in_no_other_library():
    code = "import vfi_kernels.compat, sys; print({'cupy', 'torchvision', 'mmcv', 'triton'} & set(sys.modules))"
    out = subprocess.run([*warm_python(), "-c", code], capture_output=True, text=True)
    assert out.stdout == "set()\n", out.stderr


def test_warps_of_a_script_are_tried_when_they_are_called(tmp_path):
    """One that uses what is defined below it, one in a class, one under an if; none of them ours."""
    script = tmp_path / "script.py"
    script.write_text(
        """
import os
import torch, torch.nn.functional as F

def warp(img, flow):
    return later(img, -flow)

class Net(torch.nn.Module):
    scale = 3.0
    def backwarp(self, image, flow):
        return later(image, flow)
    def bwarp(self, image, flow):
        return later(image, flow * self.scale)

if True:
    def flow_warp(image, flow):
        return later(image, flow)

def later(img, flow):
    height, width = flow.shape[2:]
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    half = torch.tensor([(width - 1) / 2, (height - 1) / 2]).view(1, 2, 1, 1)
    grid = (torch.stack((xs, ys))[None] + flow / half).permute(0, 2, 3, 1)
    return F.grid_sample(img, grid, padding_mode="border", align_corners=True)

image, flow = torch.rand(1, 3, 12, 16), torch.rand(1, 2, 12, 16) * 4
for function, expected in (
    (warp, later(image, -flow)), (flow_warp, later(image, flow)),
    (Net().backwarp, later(image, flow)), (Net().bwarp, later(image, flow * 3)),
):
    torch.testing.assert_close(function(image, flow), expected, rtol=0, atol=1e-5)
assert os.path.isabs(__file__)
"""
    )
    out = run("run", script.name, cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    rows = [line.split() for line in out.stderr.splitlines()]
    replaced = {row[2]: row[3] for row in rows if row[1] == "replaced"}
    assert replaced == {f"__main__.{place}": "compat.ifrnet.warp" for place in ("flow_warp", "Net.backwarp", "later")}
    left = {row[2]: " ".join(row[3:]) for row in rows if row[1] == "left"}
    assert left.keys() == {"__main__.warp", "__main__.Net.bwarp"}
    assert all(reason.startswith("none of our warps computes the same") for reason in left.values())


def test_what_libraries_ask_of_the_stand_ins(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        """
import importlib.util, os
import cupy, torchvision, mmcv
from mmcv.ops.modulated_deform_conv import ModulatedDeformConv2d
assert not isinstance(3, cupy.ndarray)
def annotated(x: cupy.ndarray) -> cupy.float32: ...
os.environ.setdefault("CUDA_HOME", cupy.cuda.get_cuda_path())
assert all(importlib.util.find_spec(name) for name in ("cupy", "torchvision", "mmcv"))
assert tuple(map(int, torchvision.__version__.split("+")[0].split("."))) >= (0, 9)
for line in ("import torchvision.transforms", "from torchvision import transforms", "import mmcv.runner"):
    try:
        exec(line)
    except ImportError as error:
        assert "here is the stand-in of" in str(error), error
    else:
        raise AssertionError(line)
"""
    )
    out = run("run", "--quiet", script)
    assert out.returncode == 0, out.stderr


def test_an_autograd_function_of_the_script_itself(tmp_path):
    """A cost volume that is given the side of its square, and CuPy's kernel of it."""
    code = cuda_kernels.LAUNCH.format(made=cuda_kernels.MADE["RawKernel"]) + cuda_kernels.VOLUME_CODE.format(
        name="costvol_func", radius="size // 2", more=", size", result="out"
    )
    script = tmp_path / "script.py"
    ending = f"torch.save(costvol_func.apply(*torch.ones(2, 1, 4, 6, 7), 5), {str(tmp_path / 'out.pt')!r})\n"
    script.write_text(f'TEXT = """{cuda_kernels.volume(of_total="total")}"""\n{code}\n{ending}')
    out = run("run", script)
    assert out.returncode == 0, out.stderr
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.equal(found, vk.correlation(*torch.ones(2, 1, 4, 6, 7), 2, normalize=False))
    assert "replaced  __main__.costvol_func  vk.correlation" in out.stderr
