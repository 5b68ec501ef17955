"""compat.patch on autograd functions around kernels of CuPy: their text is computed, and what it gives decides."""

import pytest
import torch
from compat import cuda_kernels as kernels
from compat.transcriptions import splat_sum

import vfi_kernels as vk
from vfi_kernels import compat

pytestmark = pytest.mark.in_turn


def inputs():
    generator = torch.Generator().manual_seed(0)
    image, flow = torch.rand(2, 3, 11, 13, generator=generator), torch.randn(2, 2, 11, 13, generator=generator) * 3
    return image, flow, torch.rand(2, 1, 11, 13, generator=generator) * -5


def splatting(monkeypatch, text=kernels.SPLAT, **options):
    return kernels.module_of(monkeypatch, kernels.SPLAT_CODE, text, name="softsplat_func", **options)


def volume(monkeypatch, text, name="_FunctionCorrelation", radius=4, **options):
    return kernels.module_of(monkeypatch, kernels.VOLUME_CODE, text, name=name, radius=radius, **options)


@pytest.mark.parametrize("made", kernels.MADE)
def test_however_a_kernel_is_made(monkeypatch, made):
    module = splatting(monkeypatch, made=made)
    (replaced,) = compat.patch(module).replaced
    assert (replaced.by, replaced.reason) == ("compat.softsplat.softsplat_func.apply", "it computes the same")
    image, flow, _ = inputs()
    assert torch.equal(module.softsplat_func.apply(image, flow), vk.splat(image, flow, mode="sum"))
    compat.unpatch()
    with pytest.raises(AssertionError):
        module.softsplat_func.apply(image, flow)


SHARES = "image[i] * share(fx - tx) * share(fy - ty)"
OTHER_SPLATS = {
    "the nearest pixel": {"text": (SHARES, "((int) rintf(fx) == tx && (int) rintf(fy) == ty ? image[i] : 0.0f)")},
    "the largest": {"text": ("atomicAdd(out +", "atomicMax((int*) out +")},
    "the last one": {"text": (f"atomicAdd(out + AT(c, ty, tx), {SHARES})", f"out[AT(c, ty, tx)] = {SHARES}")},
    "another share": {"text": ("1.0f - fabsf(distance)", "1.0f - distance * distance")},
    "the flow swapped": {"text": ("x + FLOW(0), fy = (float) y + FLOW(1)", "x + FLOW(1), fy = (float) y + FLOW(0)")},
    "half of it": {"text": (SHARES, f"0.5f * {SHARES}")},
    "only three channels": {"text": (SHARES, f"(c < 4 ? {SHARES} : 0.0f)")},
    "another gradient of the image": {"text": ("float sum = 0.0f;\n        const", "float sum = 0.1f;\n        const")},
    "another gradient of the flow": {"text": ("* slope;", "* slope * 2;")},
    "arithmetic after the launch": {"result": "out * 0.5"},
    "a clamp after the launch": {"result": "out.clamp(max=1.0)"},
    "another dtype": {"result": "out.double()"},
    "two results": {"result": "(out, two)"},
}  # fmt: skip


@pytest.mark.parametrize("other", OTHER_SPLATS)
def test_another_splat_stays(monkeypatch, other):
    options = dict(OTHER_SPLATS[other])
    before, after = options.pop("text", ("", ""))
    assert before in kernels.SPLAT
    text = kernels.SPLAT.replace(before, after) if before else kernels.SPLAT
    report = compat.patch(splatting(monkeypatch, text, **options))
    assert not report.replaced and len(report.left) == 1, str(report)


COSTS = {
    "the mean of products": ({}, {}),
    "the sum of products": ({"of_total": "total"}, {"normalize": False}),
    "a division in a comment": ({"of_total": "total /* / C */"}, {"normalize": False}),
    "a division by something else": ({"of_total": "total / (C / SIZE_1 * SIZE_1)"}, {}),
    "absolute differences": ({"cost": "fabsf(own[c] - other)"}, {"cost": "l1"}),
    "absolute differences, written anew": (
        {"cost": "(own[c] > other ? own[c] - other : other - own[c])", "of_total": "total"},
        {"cost": "l1", "normalize": False},
    ),
}


@pytest.mark.parametrize("kind", COSTS)
def test_what_a_kernel_computes_tells_one_cost_from_another(monkeypatch, kind):
    text, options = COSTS[kind]
    module = volume(monkeypatch, "#define SIZE_1 1" + kernels.volume(**text), "costvol_func")
    report = compat.patch(module)
    assert {r.place for r in report.replaced} == {"kernels.costvol_func"}, str(report)
    one, two = torch.randn(2, 2, 5, 9, 11)
    assert torch.equal(module.costvol_func.apply(one, two), vk.correlation(one, two, **options))


OTHER_COSTS = {
    "squared differences": {"cost": "(own[c] - other) * (own[c] - other)"},
    "their root": {"cost": "(own[c] - other) * (own[c] - other)", "of_total": "sqrtf(total)"},
    "a leaky relu": {"of_total": "total > 0 ? total / C : 0.1f * total / C"},
    "displacements by columns": {"order": "int t = dx; dx = dy; dy = t;"},
    "steps of two": {"order": "dx *= 2; dy *= 2;", "of_total": "total"},
    "divided by its root": {"of_total": "total / sqrtf(C)"},
    "divided by a constant": {"of_total": "total / 7"},
    "absolute values": {"of_total": "fabsf(total) / C"},
}


@pytest.mark.parametrize("other", OTHER_COSTS)
def test_another_cost_stays(monkeypatch, other):
    report = compat.patch(volume(monkeypatch, kernels.volume(**OTHER_COSTS[other])))
    assert not report.replaced and report.left[0].reason.startswith("it computes something else"), str(report)


@pytest.mark.parametrize(("radius", "word"), [("size // 2", "side"), ("size", "radius")])
def test_a_cost_volume_that_is_given_its_size(monkeypatch, radius, word):
    module = volume(monkeypatch, kernels.volume(of_total="total"), "costvol_func", radius, more=", size")
    (replaced,) = compat.patch(module).replaced
    assert replaced.by == "vk.correlation" and f"size is its {word}, normalize=False" in replaced.reason
    one, two = torch.randn(2, 1, 4, 6, 7)
    for size in (3, 5):
        expected = vk.correlation(one, two, size // 2 if word == "side" else size, normalize=False)
        assert torch.equal(module.costvol_func.apply(one, two, size), expected)


def test_what_is_not_understood_is_said(monkeypatch):
    """A splat goes by the shape of what it returns then, and by what its function does with that; a cost stays."""
    text = "template <int N> __device__ int none() { return N; }\n"
    (replaced,) = compat.patch(splatting(monkeypatch, text + kernels.SPLAT)).replaced
    assert "has the shape and type of ours" in replaced.reason and "'template'" in replaced.reason
    compat.unpatch()
    (left,) = compat.patch(splatting(monkeypatch, text + kernels.SPLAT, result="out * 0.5")).left
    assert left.reason == "what it does with what its kernel returns is something else"
    before = kernels.SPLAT_CODE.replace("one, two = one.contiguous()", "one, two = 2 * one.contiguous()")
    module = kernels.module_of(monkeypatch, before, text + kernels.SPLAT, name="softsplat_func")
    (left,) = compat.patch(module).left
    assert left.reason.startswith("it launches its kernel with something else than it is given; the text of its kernel")
    (left,) = compat.patch(volume(monkeypatch, text + kernels.volume())).left
    assert left.reason.startswith("the text of its kernel, which says what it sums, is not understood: 'template'")


def test_a_kernel_that_does_not_end_is_named(monkeypatch):
    report = compat.patch(volume(monkeypatch, kernels.volume(order="while (true) { dx += 1; }")))
    assert not report.replaced
    assert "steps" in report.left[0].reason or "did not end" in report.left[0].reason


def test_the_arithmetic_around_a_kernel_is_compared(monkeypatch):
    code = (
        kernels.SPLAT_CODE
        + """
def softsplat(tenIn, tenFlow, tenMetric, strMode):
    assert strMode == "soft"
    weight = tenMetric.exp()
    out = softsplat_func.apply(torch.cat((tenIn * weight, weight), 1), tenFlow)
    return out[:, :-1] / (out[:, -1:] + {eps})
"""
    )
    image, flow, metric = inputs()
    for eps, replaced in ((1e-7, {"kernels.softsplat_func", "kernels.softsplat"}), (1e-3, {"kernels.softsplat_func"})):
        module = kernels.module_of(monkeypatch, code, kernels.SPLAT, name="softsplat_func", eps=eps)
        assert {r.place for r in compat.patch(module).replaced} == replaced
        weight = metric.exp()
        sums = splat_sum(torch.cat((image * weight, weight), 1), flow)
        torch.testing.assert_close(module.softsplat(image, flow, metric, "soft"), sums[:, :-1] / (sums[:, -1:] + eps))
        compat.unpatch()


def test_a_function_that_is_no_splat_by_itself(monkeypatch):
    """Its kernel returns more than the sum, so it stays; what is around it is computed with its kernel, and is ours."""
    code = (
        kernels.SPLAT_CODE
        + """
def softsplat(tenIn, tenFlow, tenMetric, strMode):
    assert strMode == "sum" and tenMetric is None
    return softsplat_func.apply(tenIn, tenFlow)[0]
"""
    )
    module = kernels.module_of(monkeypatch, code, kernels.SPLAT, name="softsplat_func", result="(out, out > 0)")
    code_of_backward = module.softsplat_func.backward
    module.softsplat_func.backward = staticmethod(lambda ctx, g, _: code_of_backward(ctx, g))
    report = compat.patch(module)
    assert {r.place for r in report.replaced} == {"kernels.softsplat"}, str(report)
    image, flow, _ = inputs()
    assert torch.equal(module.softsplat(image, flow, None, "sum"), vk.splat(image, flow, mode="sum"))
