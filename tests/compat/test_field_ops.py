"""compat.patch on the ops that repositories carry as private kernels: adaptive kernels."""

import sys
from types import ModuleType

import pytest
import torch

from vfi_kernels import compat
from vfi_kernels.compat import _kernels, _stubs


def with_kernel(monkeypatch, name, parameters, size, text):
    """An autograd function around a kernel of CuPy, and a function around that."""
    monkeypatch.setitem(sys.modules, "cupy", _stubs.cupy_stubs()["cupy"])
    module = ModuleType("kernels")
    code = f'''
import cupy, torch

class {name}(torch.autograd.Function):
    @staticmethod
    def forward(ctx, {parameters}):
        first = {parameters.partition(",")[0]}
        assert first.is_cuda
        out = first.new_empty({size})
        cupy.RawKernel("""{text}""", "forward")((1,), (512,), (first.data_ptr(), out.data_ptr()))
        return out

def around({parameters}):
    return {name}.apply({parameters})
'''
    exec(code, vars(module))
    return module


OF_TAPS = "[first.shape[0], first.shape[1], weight.shape[2], weight.shape[3]]"
ADAPTIVE = {
    "adacof": ("FunctionAdaCoF", "input, weight, offset_i, offset_j, dilation", compat.adacof.FunctionAdaCoF.apply),
    "sepconv": ("_FunctionSepconv", "input, weight, horizontal", compat.sepconv.FunctionSepconv),
    "dsepconv": (
        "_FunctionDSepconv", "input, weight, horizontal, offset_x, offset_y, mask", compat.dsepconv.FunctionDSepconv
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ADAPTIVE)
def test_adaptive_kernels(monkeypatch, kind):
    name, parameters, ours = ADAPTIVE[kind]
    arguments = _kernels.adaptive(kind)
    module = with_kernel(monkeypatch, name, parameters, OF_TAPS, "text")
    vars(module)[f"Function_{kind}"] = vars(module).pop("around")
    report = compat.patch(module)
    assert {r.place for r in report.replaced} == {f"kernels.{name}", f"kernels.Function_{kind}"}, str(report)
    assert torch.equal(vars(module)[name].apply(*arguments), ours(*arguments))
    assert torch.equal(vars(module)[f"Function_{kind}"](*arguments), ours(*arguments))
    compat.unpatch()
    wrong = with_kernel(monkeypatch, name, parameters, "first.shape", "text")
    assert not compat.patch(wrong).replaced
