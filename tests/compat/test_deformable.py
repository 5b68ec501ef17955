"""Deformable and masked convolution under the names of mmcv.ops and BasicSR, against what they are."""

import pytest
import torch
import torch.nn.functional as F

import vfi_kernels as vk
from vfi_kernels.compat import basicsr, mmcv

MODULES = [
    mmcv.DeformConv2d, mmcv.DeformConv2dPack, mmcv.ModulatedDeformConv2d, mmcv.ModulatedDeformConv2dPack,
    basicsr.DeformConv, basicsr.DeformConvPack, basicsr.ModulatedDeformConv, basicsr.ModulatedDeformConvPack,
    basicsr.DCNv2Pack,
]  # fmt: skip
PLACE = {"stride": 2, "padding": 2, "dilation": 2, "groups": 2}


def offset(channels=2 * 2 * 9, size=(5, 6)):
    return torch.randn(2, channels, *size, dtype=torch.float64) * 2


def test_without_a_mask_is_with_ones():
    x, moves, weight = (
        torch.rand(2, 8, 9, 11, dtype=torch.float64),
        offset(),
        torch.rand(4, 4, 3, 3, dtype=torch.float64),
    )
    place = (2, 2, 2, 2, 2)
    expected = vk.modulated_deform_conv2d(
        x, moves, torch.ones_like(moves[:, :18]), weight, stride=2, padding=2, dilation=2, groups=2, offset_groups=2,
        edge="mmcv",
    )  # fmt: skip
    for found in (
        mmcv.deform_conv2d(x, moves, weight, *place),
        mmcv.deform_conv2d(x, moves, weight, *place, False, 16),
        basicsr.deform_conv(x, moves, weight, *place, 64),
        basicsr.modulated_deform_conv(x, moves, torch.ones_like(moves[:, :18]), weight, None, *place),
    ):
        torch.testing.assert_close(found, expected)
    for kind in (mmcv.DeformConv2d, basicsr.DeformConv):
        module = kind(8, 4, 3, 2, 2, 2, 2, 2).double()
        assert [*module.state_dict()] == ["weight"] and module.bias is None
        module.weight.data.copy_(weight)
        torch.testing.assert_close(module(x, moves), expected)


@pytest.mark.parametrize("kind", MODULES)
def test_both_names_of_the_groups(kind):
    """mmcv calls them deform_groups, with a warning deformable_groups; BasicSR deformable_groups."""
    if kind.__module__.endswith("mmcv"):
        with pytest.warns(DeprecationWarning, match="deformable_groups is called deform_groups"):
            module = kind(8, 4, 3, deformable_groups=2, **PLACE)
        with pytest.raises(RuntimeError, match="expected deform_groups or deformable_groups, got both"):
            kind(8, 4, 3, deformable_groups=2, deform_groups=2)
    else:
        module = kind(8, 4, 3, deformable_groups=2, **PLACE)
        assert module.deformable_groups == 2 and module.with_bias == (module.bias is not None)
    assert module.deform_groups == 2 and module.stride == (2, 2)
    assert module.transposed is False and module.output_padding == (0,)  # ConvModule of mmcv reads them


@pytest.mark.parametrize("kind", [mmcv.DeformConv2dPack, basicsr.DeformConvPack])
def test_the_pack_starts_as_a_convolution(kind):
    module, x = kind(4, 6, 3, padding=1), torch.rand(2, 4, 7, 8)
    torch.testing.assert_close(module(x), F.conv2d(x, module.weight, padding=1), rtol=1e-5, atol=1e-5)
    torch.nn.init.normal_(module.conv_offset.weight)
    expected = mmcv.deform_conv2d(x, module.conv_offset(x), module.weight, 1, 1)
    torch.testing.assert_close(module(x), expected)
    early = {"weight": module.weight, "conv_offset.weight": 0, "conv_offset.bias": 0}.keys()
    assert module.state_dict().keys() == early
    model = torch.nn.Sequential(module)
    old = {
        "0.weight": module.weight,
        "0_offset.weight": module.conv_offset.weight,
        "0_offset.bias": module.conv_offset.bias,
    }
    assert mmcv.with_current_names(old, model).keys() == model.state_dict().keys()


def test_dcnv2pack_reads_its_offsets_from_the_second_input():
    module = basicsr.DCNv2Pack(4, 6, 3, padding=1, deformable_groups=2)
    torch.nn.init.normal_(module.conv_offset.weight)
    x, feat = torch.rand(2, 4, 7, 8), torch.rand(2, 4, 7, 8)
    first, second, logits = module.conv_offset(feat).chunk(3, 1)
    expected = vk.modulated_deform_conv2d(
        x, torch.cat((first, second), 1), logits.sigmoid(), module.weight, module.bias, padding=1, offset_groups=2
    )
    torch.testing.assert_close(module(x, feat), expected)
    torch.nn.init.constant_(module.conv_offset.bias, 1000)
    with pytest.warns(UserWarning, match=r"Offset abs mean is .*, larger than 50\."):
        module(x, feat)


@pytest.mark.parametrize("kernel, padding", [(1, 0), (1, 2), (3, 0), (3, 1), (3, 3), (2, 1), ((3, 1), (1, 0))])
def test_masked_convolution(kernel, padding):
    torch.manual_seed(0)
    module = mmcv.MaskedConv2d(4, 5, kernel, padding=padding).double()
    x = torch.rand(2, 4, 9, 12, dtype=torch.float64, requires_grad=True)
    dense = F.conv2d(x, module.weight, module.bias, padding=padding)
    torch.testing.assert_close(module(x), dense)
    mask = torch.randint(-1, 2, (2, *dense.shape[2:]))
    found, expected = module(x, mask), dense * (mask > 0)[:, None]
    torch.testing.assert_close(found, expected)
    g = torch.rand_like(dense)
    gradients = [torch.autograd.grad(t, (x, module.weight, module.bias), g) for t in (found, expected)]
    torch.testing.assert_close(*gradients)
    assert not module(x, torch.zeros_like(mask)).any()


def test_errors_are_one_sentence():
    x, moves, weight = torch.rand(1, 4, 5, 6), torch.zeros(1, 18, 5, 6), torch.rand(4, 4, 3, 3)
    for call, sentence in (
        (
            lambda: mmcv.deform_conv2d(x, moves, weight, bias=True),
            "deform_conv2d: expected bias=False, as mmcv does, got",
        ),
        (lambda: mmcv.DeformConv2d(4, 4, 3, bias=True), "DeformConv2d: expected bias=False, as mmcv does, got True"),
        (
            lambda: mmcv.masked_conv2d(x, x[:, 0], weight, stride=2),
            "masked_conv2d: expected stride 1, as mmcv does, got 2",
        ),
        (lambda: mmcv.masked_conv2d(x, x[:, 0], weight), r"masked_conv2d: expected mask of shape \(1, 3, 4\), got"),
    ):
        with pytest.raises(vk.ArgumentError, match=sentence):
            call()


def called(kind, x, kernel, **place):
    """A module of DCNv1, or a function, with offsets of the right size, if there is one."""
    out = vk_size(x, kernel, **place)
    moves = torch.zeros(len(x), 2 * kernel * kernel, *(max(n, 0) for n in out))
    if isinstance(kind, type):
        built = kind(x.shape[1], 3, kernel, **place)
        return built(x) if kind.__name__.endswith("Pack") else built(x, moves)
    return kind(x, moves, torch.rand(3, x.shape[1], kernel, kernel), **place)


def vk_size(x, kernel, stride=1, padding=0, dilation=1):
    return [(n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for n in x.shape[2:]]


OF_V1 = [mmcv.deform_conv2d, basicsr.deform_conv, mmcv.DeformConv2d, mmcv.DeformConv2dPack, basicsr.DeformConv,
         basicsr.DeformConvPack]  # fmt: skip


@pytest.mark.parametrize("place", [{}, {"padding": 1}, {"stride": 2, "padding": 2}, {"dilation": 3}], ids=str)
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 7), (7, 2), (4, 4), (5, 6)], ids=str)
@pytest.mark.parametrize("kind", OF_V1, ids=lambda kind: f"{kind.__module__[-7:]}.{kind.__name__}")
def test_inputs_smaller_than_the_kernel(kind, size, kernel, place):
    """An error as published; where a module would fill up the input and cut off, what is left."""
    x = torch.rand(2, 4, *size)
    out, fills = vk_size(x, kernel, **place), kind in (mmcv.DeformConv2d, basicsr.DeformConv)
    filled = vk_size(torch.empty(1, 1, *(max(n, kernel) for n in size)), kernel, **place)
    if min(filled if fills else out) > 0:
        assert called(kind, x, kernel, **place).shape == (2, 3, *(max(n, 0) for n in out))
    else:
        told = "x".join(map(str, (2, 3, *(filled if fills else out))))
        with pytest.raises(ValueError, match=rf"convolution input is too small \(output would be {told}\)$"):
            called(kind, x, kernel, **place)


@pytest.mark.parametrize(
    ("state", "model", "sentence"),
    [
        (3, 4, "a state dict, got int"), ({}, 4, "a module, got int"), (None, None, "a state dict, got NoneType"),
        ([("a", 1)], torch.nn.ReLU(), "a state dict, got list"), (torch.nn.ReLU(), {}, "a state dict, got ReLU"),
    ],
)  # fmt: skip
def test_names_of_what_is_no_state_dict(state, model, sentence):
    with pytest.raises(vk.ArgumentError, match=rf"^with_current_names: expected {sentence}"):
        mmcv.with_current_names(state, model)
