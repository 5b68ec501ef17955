"""Wrong arguments of modulated_deform_conv2d."""

import numpy as np
import pytest
import torch
from worded import WordedOps

import vfi_kernels as vk

OPS = WordedOps()


def errors():
    x, weight = torch.zeros(2, 4, 5, 6), torch.zeros(8, 2, 3, 3)
    offset, mask = torch.zeros(2, 36, 5, 6), torch.zeros(2, 18, 5, 6)
    one, ok = [1, 1], [x, offset, mask, weight, None, [1, 1], [1, 1], [1, 1], 2, 2, "none", None, "torchvision", False]
    assert one == ok[5]
    for place, value, sentence in (
        (0, x[0], "expected input of shape (B, C, H, W), got (4, 5, 6)"),
        (0, x.int(), "expected input of dtype float64, float32, float16 or bfloat16, got int32"),
        (1, offset[:, :18], "expected offset of shape (B, 36, H, W), got (2, 18, 5, 6)"),
        (1, offset[..., :5], "expected offset of height and width (5, 6) as the output has, got (2, 36, 5, 5)"),
        (2, mask[:1], "expected mask of shape (B, 18, H, W) with B = 2 as input has, got (1, 18, 5, 6)"),
        (3, weight[0], "expected weight of shape (C_out, C / groups, KH, KW), got (2, 3, 3)"),
        (3, weight[:, :1], "expected weight of shape (8, 2, KH, KW) for 4 channels in 2 groups, got (8, 1, 3, 3)"),
        (3, weight.half(), "expected weight of dtype float32 as input has, got float16"),
        (4, torch.zeros(7), "expected bias of shape (8,), got (7,)"),
        (3, torch.zeros(8, 2, 9, 9), "expected an input that the kernel fits into with its padding, got (2, 4, 5, 6)"),
        (5, [0, 1], "expected stride of two integers from 1 up, got (0, 1)"),
        (6, [1], "expected padding of two integers from 0 up, got (1,)"),
        (8, 3, "expected groups that divide the 4 channels of input, got 3"),
        (9, 3, "expected offset_groups that divide the 4 channels of input, got 3"),
        (10, "gelu", "expected activation 'none', 'relu' or 'prelu', got 'gelu'"),
        (10, "prelu", "expected an activation_weight with activation 'prelu', and only then, got prelu"),
        (11, torch.zeros(8), "expected an activation_weight with activation 'prelu', and only then, got none"),
        (12, 2, "expected edge 0 ('torchvision') or 1 ('mmcv'), got 2"),
    ):
        wrong = list(ok)
        wrong[place] = value
        yield pytest.param(wrong, sentence, id=sentence[9:40])


@pytest.mark.parametrize("arguments, sentence", list(errors()))
def test_errors_are_one_sentence(backend, arguments, sentence):
    with pytest.raises(RuntimeError) as caught:
        OPS.modulated_deform_conv2d(*arguments)
    assert str(caught.value).splitlines()[0] == f"modulated_deform_conv2d: {sentence}"
    with pytest.raises(RuntimeError) as caught, torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        OPS.modulated_deform_conv2d(*arguments)
    assert str(caught.value).splitlines()[0] == f"modulated_deform_conv2d: {sentence}"


def test_arguments_that_are_no_tensors_or_integers_get_one_sentence():
    x, weight = torch.zeros(1, 4, 5, 6), torch.zeros(8, 4, 3, 3)
    offset = torch.zeros(1, 18, 5, 6)
    for change, sentence in (
        ({"stride": 1.5}, "expected stride of one or two integers from 1 up, got 1.5"),
        ({"padding": (0.9, 0.9)}, "expected padding of one or two integers from 0 up, got (0.9, 0.9)"),
        ({"dilation": "11"}, "expected dilation of one or two integers from 1 up, got 11"),
        ({"offset": None}, "expected offset to be a tensor, got NoneType"),
        ({"input": x.numpy()}, "expected input to be a tensor, got ndarray"),
        ({"bias": 0.5}, "expected bias to be a tensor, got float"),
        ({"edge": None}, "expected edge 'torchvision' or 'mmcv', got NoneType"),
        ({"activation": 3}, "expected activation 'relu' or 'prelu', got int"),
        ({"groups": 1.0}, "expected groups to be an integer, got 1.0"),
        ({"offset_groups": "1"}, "expected offset_groups to be an integer, got '1'"),
        ({"weight": weight.int()}, "expected weight of dtype float64, float32, float16 or bfloat16, got int32"),
        ({"weight": weight[:, :3]}, "expected weight of shape (C_out, C / groups, KH, KW) for C = 4, got (8, 3, 3, 3)"),
        ({"offset": offset[:, :17]}, "expected offset of shape (B, 2 G KH KW, H, W) with KH KW = 9, got (1, 17, 5, 6)"),
    ):
        arguments = {"input": x, "offset": offset, "mask": None, "weight": weight, "padding": 1, **change}
        with pytest.raises(RuntimeError) as caught:
            vk.modulated_deform_conv2d(**arguments)
        assert str(caught.value) == f"modulated_deform_conv2d: {sentence}"
    same = vk.modulated_deform_conv2d(x, offset, None, weight, stride=np.int64(1), padding=(1,), dilation=[1, 1])
    assert same.shape == (1, 8, 5, 6)
