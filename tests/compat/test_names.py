"""Every name, by the keywords of every release that has it; and what goes wrong."""

import itertools

import pytest
import torch
from every_name import flow, image, metric, module

from vfi_kernels import compat
from vfi_kernels.compat import _names

ONE, TWO, FLOW, METRIC = image(torch.float32), image(torch.float32).flip(3), flow(torch.float32), metric(torch.float32)
IMAGES, FLOWS = ("tenIn", "tenInput", "tensorInput", "input"), ("tenFlow", "tensorFlow", "flow")
METRICS, MODES = ("tenMetric", "tensorMetric"), ("strMode", "strType", "mode")
PAIRS = [
    ("tenFirst", "tenSecond"), ("tensorFirst", "tensorSecond"), ("tenOne", "tenTwo"), ("tensorOne", "tensorTwo"),
    ("input1", "input2"), ("in1", "in2"), ("x1", "x2"), ("x0", "x1"), ("feat_0", "feat_1"), ("first", "second"),
    ("left", "right"), ("f1", "f2"), ("source", "target"), ("a", "b"), ("fmap9", "fmap10"),
]  # fmt: skip
OF_TWO = {
    "ebme.ModuleCorrelation": compat.ebme.ModuleCorrelation(),
    "ebme.FunctionCorrelation": compat.ebme.FunctionCorrelation,
    "softsplat.FunctionCorrelation": compat.softsplat.FunctionCorrelation,
    "costvol.costvol": compat.costvol.costvol,
}


@pytest.mark.parametrize("names", PAIRS, ids=str)
@pytest.mark.parametrize("name", OF_TWO)
def test_two_maps_by_any_names(name, names):
    call, (first, second) = OF_TWO[name], names
    expected = call(ONE, TWO)
    assert not torch.equal(expected, call(TWO, ONE))
    for given in ({first: ONE, second: TWO}, {second: TWO, first: ONE}):
        assert torch.equal(call(**given), expected)
    assert torch.equal(call(ONE, **{second: TWO}), expected)


@pytest.mark.parametrize("name", OF_TWO)
def test_wrong_names_of_two_maps(name):
    call = OF_TWO[name]
    for given in ({"tenFirst": ONE}, {"tenOne": ONE}, {"a1": ONE, "a2": TWO, "a3": ONE}, {}):
        with pytest.raises(TypeError):
            call(**given)
    for given in ({"first": TWO}, {"tensorFirst": TWO}):  # which is there already
        with pytest.raises(TypeError):
            call(ONE, **given)


@pytest.mark.parametrize("names", list(itertools.product(IMAGES, FLOWS, METRICS, MODES)), ids=str)
def test_splats_by_every_spelling(names):
    splats = {
        "soft": compat.softsplat.softsplat, "softmax": compat.ebme.FunctionSoftsplat
    }  # fmt: skip
    for mode, splat in splats.items():
        assert torch.equal(splat(**dict(zip(names, (ONE, FLOW, METRIC, mode)))), splat(ONE, FLOW, METRIC, mode))
    built = compat.ebme.ModuleSoftsplat("softmax")
    assert torch.equal(built(**dict(zip(names[:3], (ONE, FLOW, METRIC)))), built(ONE, FLOW, METRIC))


@pytest.mark.parametrize("names", [*itertools.product((*IMAGES, "img", "x", "image"), (*FLOWS, "flo"))], ids=str)
def test_warps_by_every_spelling(names):
    for warp in (compat.softsplat.backwarp, compat.ebme.backwarp, compat.rife.warp, compat.ifrnet.warp,
                 compat.xvfi.bwarp):  # fmt: skip
        assert torch.equal(warp(**dict(zip(names, (ONE, FLOW)))), warp(ONE, FLOW))


@pytest.mark.parametrize("prefix", ["ten", "tensor"])
def test_separable_by_every_spelling(prefix):
    from every_name import deformed_separable, separable

    words = ("Input", "Vertical", "Horizontal", "OffsetX", "OffsetY", "Mask")
    three, six = separable(torch.float32), deformed_separable(torch.float32)
    for call in (compat.sepconv.FunctionSepconv, module(compat.sepconv.ModuleSepconv, torch.float32, ONE.device)):
        assert torch.equal(call(**{prefix + word: value for word, value in zip(words, three)}), call(*three))
    call = compat.dsepconv.FunctionDSepconv
    assert torch.equal(call(**{prefix + word: value for word, value in zip(words, six)}), call(*six))


def test_a_keyword_of_nothing_is_an_error():
    for call in (compat.softsplat.backwarp, compat.rife.warp, compat.sepconv.FunctionSepconv):
        with pytest.raises(TypeError, match="tenOther"):
            call(ONE, tenOther=FLOW)


def test_the_names_are_in_the_signature():
    import inspect

    assert list(inspect.signature(compat.softsplat.backwarp).parameters) == ["tenIn", "tenFlow"]
    assert _names.meaning("tenInput") == _names.meaning("img") == "input" and _names.meaning("tensor") == "tensor"


def test_costvol_is_both():
    """M2M's, and BiM-VFI's with the number of displacements."""
    import vfi_kernels as vk

    volume = compat.costvol.costvol_func.apply
    assert torch.equal(volume(ONE, TWO), vk.correlation(ONE, TWO, cost="l1"))
    for size in (1, 3, 9):
        assert torch.equal(volume(ONE, TWO, size), vk.correlation(ONE, TWO, size // 2, normalize=False))
    for size in (0, 2, 1.5):
        with pytest.raises(ValueError, match="costvol: expected intKernelSize to be "):
            volume(ONE, TWO, size)
