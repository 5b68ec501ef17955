"""After compat.patch: calls under torch.autocast, with gradients at whole pixels, with values that are not finite at a
border, and inside torch.func's transforms are what they were."""

import pytest
import torch
from compat.test_patch_trials import module_of, replaced
from torch import func

from vfi_kernels import compat

CODE = """
import compat.transcriptions as t
def warp(img, flow): return warped(img, flow)
def splat(img, flow): return t.splat_sum(img, flow)
def FunctionCorrelation(tenFirst, tenSecond): return t.cost_volume(tenFirst, tenSecond)
def softsplat(tenIn, tenFlow, tenMetric, strMode): return t.softsplat(tenIn, tenFlow, tenMetric, strMode)
def correlation(one, two):
    two = F.pad(two, (4, 4, 4, 4))
    shifted = [two[:, :, y:y + one.shape[2], x:x + one.shape[3]] for y in range(9) for x in range(9)]
    pairs = [torch.einsum("bchw,bchw->bhw", one, other) for other in shifted]
    return torch.stack(pairs, 1) / one.shape[1]
"""
CALLS = {  # with two tensors of (B, C, H, W), the second one a flow
    "warp": lambda m, a, b: m.warp(a, b),
    "splat": lambda m, a, b: m.splat(a, b),
    "FunctionCorrelation": lambda m, a, b: m.FunctionCorrelation(a[:, :2], b),
    "softsplat": lambda m, a, b: m.softsplat(a, b, a[:, :1], "soft"),
    "correlation": lambda m, a, b: m.correlation(a[:, :2], b),
}
IMAGE, FLOW = (torch.rand(2, 3, 12, 14, generator=torch.Generator().manual_seed(0)),
               torch.randn(2, 2, 12, 14, generator=torch.Generator().manual_seed(1)) * 3)  # fmt: skip


@pytest.fixture(scope="module")
def both():
    """The module as it was, and patched."""
    theirs, ours = module_of(CODE, "made_up"), module_of(CODE, "made_up_too")
    report = compat.patch(ours)
    assert {f"made_up_too.{name}" for name in CALLS} <= replaced(report), str(report)
    places = {name: getattr(ours, name) for name in (*CALLS, "warped")}
    yield theirs, places


@pytest.fixture
def modules(both):
    """The patched one as it was, as every test undoes all patches."""
    theirs, places = both
    ours = type("module", (), {name: staticmethod(value) for name, value in places.items()})
    return theirs, ours


@pytest.mark.parametrize("name", CALLS)
def test_it_is_ours(modules, name):
    assert hasattr(getattr(modules[1], name), "__vfi_kernels__")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_the_dtype_under_autocast(modules, name, dtype):
    with torch.autocast("cpu", torch.bfloat16):
        theirs, ours = (CALLS[name](m, IMAGE.to(dtype), FLOW.to(dtype)) for m in modules)
    assert theirs.dtype == ours.dtype
    torch.testing.assert_close(ours.float(), theirs.float(), rtol=0, atol=1e-4 if dtype == torch.float32 else 0.5)


@pytest.mark.parametrize("flow", [torch.zeros_like(FLOW), FLOW.round()], ids=["zero", "whole"])
@pytest.mark.parametrize("name", ["splat", "softsplat"])
def test_gradients_at_whole_pixels(modules, name, flow):
    slopes = []
    for m in modules:
        image, at = IMAGE.clone().requires_grad_(), flow.clone().requires_grad_()
        weights = torch.linspace(-1, 1, IMAGE.numel()).view_as(IMAGE)
        slopes.append(torch.autograd.grad(CALLS[name](m, image, at), (image, at), weights))
    for theirs, ours in zip(*slopes):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [(0, 0), (0, 6), (11, 13), (5, 1), (6, 7)], ids=str)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", ["FunctionCorrelation", "correlation"])
def test_what_is_not_finite_in_a_cost_volume(modules, name, which, at, value):
    maps = [IMAGE.clone(), FLOW.clone()]
    maps[which][0, 0, at[0], at[1]] = value
    theirs, ours = (CALLS[name](m, *maps) for m in modules)
    assert torch.equal(theirs.isfinite(), ours.isfinite())


TRANSFORMS = {
    "grad": lambda f: func.grad(lambda a, b: f(a, b).square().sum(), argnums=(0, 1))(IMAGE, FLOW),
    "vjp": lambda f: func.vjp(f, IMAGE, FLOW)[1](f(IMAGE, FLOW)),
    "vmap": lambda f: func.vmap(f)(IMAGE[:, None], FLOW[:, None]),
    "vmap of grad": lambda f: func.vmap(func.grad(lambda a, b: f(a, b).sum(), argnums=1))(
        IMAGE[:, None], FLOW[:, None]
    ),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", CALLS)
def test_inside_transforms(modules, name, transform):
    found = [TRANSFORMS[transform](lambda a, b, m=m: CALLS[name](m, a, b)) for m in modules]
    for theirs, ours in zip(*((r if isinstance(r, tuple) else (r,)) for r in found), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["splat", "FunctionCorrelation", "correlation"])
def test_forward_derivatives(modules, name):
    found = [func.jvp(lambda a, b, m=m: CALLS[name](m, a, b), (IMAGE, FLOW), (IMAGE, FLOW)) for m in modules]
    for theirs, ours in zip(*found):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
