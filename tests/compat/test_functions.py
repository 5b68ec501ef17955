"""compat.patch on splats and correlations, in plain torch and around kernels of CuPy: the arithmetic decides."""

import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from compat.transcriptions import splat_sum

import vfi_kernels as vk
from vfi_kernels import compat
from vfi_kernels.compat import _stubs


def patched(**names):
    module = ModuleType("client")
    vars(module).update(names)
    return module, compat.patch(module)


def inputs(metric=-20.0):
    generator = torch.Generator().manual_seed(0)
    image, flow = torch.rand(2, 3, 11, 13, generator=generator), torch.randn(2, 2, 11, 13, generator=generator) * 3
    return image, flow, torch.rand(2, 1, 11, 13, generator=generator) * metric


def volume(radius, mean=True):
    def correlation(one, two):
        height, width = one.shape[2:]
        near = F.pad(two, (radius,) * 4)
        products = [
            one * near[:, :, y : y + height, x : x + width]
            for y in range(2 * radius + 1)
            for x in range(2 * radius + 1)
        ]
        return torch.stack([p.mean(1) if mean else p.sum(1) for p in products], 1)

    return correlation


@pytest.mark.parametrize("radius", [1, 3, 4, 9])
def test_a_correlation_of_any_radius(radius):
    theirs = volume(radius)
    module, report = patched(FunctionCorrelation=theirs)
    assert [r.by for r in report.replaced] == [
        "compat.softsplat.FunctionCorrelation" if radius == 4 else "vk.correlation"
    ]
    one, two = torch.randn(2, 2, 5, 9, 11)
    torch.testing.assert_close(module.FunctionCorrelation(one, two=two), theirs(one, two), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [lambda out: out * 1.0001, lambda out: out.flip(1), F.leaky_relu, lambda out: out[:, :-1], lambda out: (out, out),
     torch.Tensor.detach],
)  # fmt: skip
def test_another_correlation_stays(change):
    module, report = patched(correlate=lambda one, two: change(volume(4)(one, two)), correlation=lambda a, b: a @ b)
    assert not report.replaced and module is not None
    assert {item.place for item in report.left} == {"client.correlation", "client.correlate"}
    _, report = patched(correlation=lambda one, two: change(volume(4)(one, two)))
    assert not report.replaced and len(report.left) == 1


def splat(sums, eps="add", exp=torch.exp, back=lambda out, norm: out / norm):
    """softmax-splatting's arithmetic in mode soft, and changes of it."""

    def softsplat(tenIn, tenFlow, tenMetric, strMode):
        assert strMode == "soft" and tenMetric is not None
        weight = exp(tenMetric)
        out = sums(torch.cat((tenIn * weight, weight), 1), tenFlow)
        norm = out[:, -1:]
        norm = {"add": norm + 1e-7, "clip": norm.clip(1e-7), "zero": torch.where(norm == 0, 1.0, norm)}.get(
            eps, norm + 1e-5
        )
        return back(out[:, :-1], norm)

    return softsplat


@pytest.mark.parametrize("eps", ["add", "clip", "zero"])
def test_what_is_added_to_weights_is_told(eps):
    theirs = splat(splat_sum, eps)
    module, report = patched(softsplat=theirs)
    assert {r.place for r in report.replaced} == {"client.softsplat", "client.softsplat.sums"}, str(report)
    image, flow, metric = inputs()
    expected = theirs(image, flow, metric, "soft")
    torch.testing.assert_close(module.softsplat(image, flow, metric, strMode="soft"), expected, rtol=0, atol=1e-4)
    with pytest.raises(AssertionError):
        module.softsplat(image, flow, metric, "avg")  # the original says so


OTHERS = {
    "1e-5 is added": {"eps": "more"},
    "another base": {"exp": torch.exp2},
    "a mask is returned": {"back": lambda out, norm: (out / norm, norm > 0)},
    "times 1.0001": {"back": lambda out, norm: out / norm * 1.0001},
    "no division": {"back": lambda out, norm: out},
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_splat_stays(other):
    """But for the sum inside it, which is ours."""
    _, report = patched(softsplat=splat(splat_sum, **OTHERS[other]))
    assert {r.place for r in report.replaced} == {"client.softsplat.sums"} and len(report.left) == 1, str(report)


def kernel(monkeypatch, made, name):
    """An autograd function around a kernel of CuPy that returns what `made` makes, and a module that has it."""
    monkeypatch.setitem(sys.modules, "cupy", _stubs.cupy_stubs()["cupy"])
    module = ModuleType("kernels")
    code = f"""
import cupy, torch

class {name}(torch.autograd.Function):
    @staticmethod
    def forward(ctx, one, two):
        assert one.is_cuda and two.is_contiguous()
        out = made(one, two)
        cupy.RawKernel("text", "name")((1,), (512,), (one.data_ptr(), two.data_ptr()))
        return out

def sums(one, two):
    return {name}.apply(one, two)
"""
    exec(code, vars(module))
    module.made = made
    return module


@pytest.mark.parametrize(
    ("name", "made", "right"),
    [
        ("_FunctionCorrelation", lambda a, b: a.new_zeros(a.shape[0], 81, *a.shape[2:]), False),
        ("_FunctionCorrelation", lambda a, b: a.new_zeros(a.shape[0], 441, *a.shape[2:]), False),
        ("_FunctionCorrelation", lambda a, b: a.new_zeros(a.shape[0], 81, *a.shape[2:]).double(), False),
        ("_FunctionSoftsplat", lambda a, b: a.new_zeros(a.shape), True),
        ("_FunctionSoftsplat", lambda a, b: (a.new_zeros(a.shape), b[:, :1]), False),
        ("_FunctionSoftsplat", lambda a, b: a.new_zeros(a.shape[0], a.shape[1] + 1, *a.shape[2:]), False),
        ("_FunctionSomething", lambda a, b: a.new_zeros(a.shape), None),
    ],
)
def test_what_a_kernel_returns_tells(monkeypatch, name, made, right):
    module = kernel(monkeypatch, made, name)
    report = compat.patch(module)
    assert (len(report.replaced), len(report.left)) == {True: (1, 0), False: (0, 1), None: (0, 0)}[right], str(report)
    image, flow, _ = inputs()
    if right and "Softsplat" in name:
        assert torch.equal(vars(module)[name].apply(image, flow), vk.splat(image, flow, mode="sum"))
        compat.unpatch()
        with pytest.raises(AssertionError):
            vars(module)[name].apply(image, flow)


def test_the_arithmetic_around_a_kernel_tells(monkeypatch):
    module = kernel(monkeypatch, lambda a, b: a.new_zeros(a.shape), "_FunctionSoftsplat")
    module.softsplat = splat(module.sums)
    module.softsplat_of_another = splat(module.sums, "more")
    report = compat.patch(module)
    assert {r.place: r.by for r in report.replaced} == {
        "kernels._FunctionSoftsplat": "compat.softsplat.softsplat_func.apply",
        "kernels.softsplat": "compat.softsplat.softsplat",
    }
    image, flow, metric = inputs()
    torch.testing.assert_close(
        module.softsplat_of_another(image, flow, metric, "soft"), splat(splat_sum, "more")(image, flow, metric, "soft")
    )
