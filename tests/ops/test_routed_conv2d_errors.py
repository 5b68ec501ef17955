"""Wrong arguments of routed_conv2d and routed_conv2d_."""

import pytest
import torch
import torch._dynamo.testing
from ops.routed_convolutions import LIST, W, X

import vfi_kernels as vk

WIDE = torch.zeros(1, 4, 8, 12)
T = torch.zeros(3, 5, 4, 4)
WRONG = [
    (lambda: vk.routed_conv2d(X[0], W, None, LIST, 4), r"input of shape \(B, C, H, W\), got \(3, 8, 12\)"),
    (lambda: vk.routed_conv2d(X, W[:, :2], None, LIST, 4), r"\(C_out, 3, K, K\) with K = 1 or 3 for 3 channels, got"),
    (lambda: vk.routed_conv2d(X, T, None, LIST, 4), "K = 1 or 3 for 3 channels, got"),
    (lambda: vk.routed_conv2d(X, W, None, LIST, 4, transposed=True, stride=2), r"\(3, C_out, 4, 4\)"),
    (lambda: vk.routed_conv2d(X, T, None, LIST, 4, transposed=True), "stride 2 for a transposed convolution, got 1"),
    (lambda: vk.routed_conv2d(X, W, None, LIST, 4, stride=3), "stride 1 or 2, got 3"),
    (lambda: vk.routed_conv2d(X[..., :6, :], W, None, LIST, 3, stride=2), "multiple of the stride of 2, got 3"),
    (lambda: vk.routed_conv2d(X, W, None, LIST, 5), "multiples of the patch of 5 pixels"),
    (lambda: vk.routed_conv2d(X, W, torch.zeros(4), LIST, 4), r"bias of shape \(5,\), got \(4,\)"),
    (lambda: vk.routed_conv2d(X, W, None, LIST.long(), 4), "indices of dtype int32, got int64"),
    (lambda: vk.routed_conv2d(X, W, None, LIST, 4, padding_mode="same"), "padding_mode 'zeros' or 'image', got 'same'"),
    (lambda: vk.routed_conv2d(X, W, None, LIST, 4, activation="tanh"), "activation .*, got 'tanh'"),
    (lambda: vk.routed_conv2d(X, W, None, LIST, 4, activation="prelu"), "an activation_weight with activation 'prelu'"),
    (
        lambda: vk.routed_conv2d(X, W, None, LIST, 4, activation="prelu", activation_weight=torch.zeros(3)),
        r"activation_weight of shape \(1,\) or \(5,\), got \(3,\)",
    ),
    (lambda: vk.routed_conv2d(X, W, None, LIST, 4, base=X), r"base of shape \(1, 5, 8, 12\) as the output has, got"),
    (lambda: vk.routed_conv2d_(X, W, None, LIST, 4, base=X.double()), "base of"),
    (
        lambda: vk.routed_conv2d_(X, W[:3], None, LIST, 4, base=X),
        "a base with memory of its own, got one in the .* of input",
    ),
    (lambda: vk.routed_conv2d_(X, W[:3], None, LIST, 4, base=X[:]), "a base with memory of its own"),
    (lambda: vk.routed_conv2d_(WIDE[:, :3], W[:3], None, LIST, 4, base=WIDE[:, 1:]), "a base with memory of its own"),
    (
        lambda: vk.routed_conv2d_(X, W, None, LIST, 4, base=torch.zeros(5, 1, 1).expand(1, 5, 8, 12)),
        r"base whose elements do not share memory, got strides \(\d+, 1, 0, 0\)",
    ),
    (lambda: vk.routed_conv2d_(X, W, None, LIST, 4, base=0.0), "base to be a tensor, got float"),
    (lambda: vk.routed_conv2d(X, W, None, LIST, 4.0), "patch"),
    (lambda: vk.routed_conv2d(X, W, None, LIST, 2**70), "patch to be an integer below 2"),
    (lambda: vk.routed_conv2d(X, W, None, LIST, 4, padding_mode=None), "padding_mode 'zeros' or 'image', got NoneType"),
    (lambda: vk.routed_conv2d(X, W, None, LIST, 4, transposed=1), "transposed to be True or False, got 1"),
    (
        lambda: vk.routed_conv2d(X, W, None, LIST, 4, negative_slope="a"),
        "negative_slope to be a finite number, got 'a'",
    ),
    (lambda: vk.routed_conv2d(X, None, None, LIST, 4), "weight to be a tensor, got NoneType"),
]


@pytest.mark.parametrize("call, message", WRONG, ids=range(len(WRONG)))
def test_wrong_arguments_get_one_sentence(backend, call, message):
    with pytest.raises(RuntimeError, match=f"routed_conv2d_?: expected .*{message}") as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("options, message", [
    ({"base": X}, r"base of shape \(1, 5, 8, 12\) as the output has, got \(1, 3, 8, 12\)"),
    ({"base": torch.zeros(1, 5, 8, 12).double()}, "base of dtype float32 as input has, got float64"),
    ({"activation": "prelu", "activation_weight": torch.tensor(0.1)}, r"activation_weight of shape \(1,\) or \(5,\)"),
    ({"activation": "prelu", "activation_weight": torch.zeros(4)}, r"activation_weight of shape \(1,\) or \(5,\)"),
])  # fmt: skip
def test_wrong_arguments_are_refused_while_autograd_records(backend, options, message):
    with pytest.raises(RuntimeError, match=f"^routed_conv2d: expected {message}"):
        vk.routed_conv2d(X, W.clone().requires_grad_(), None, LIST, 4, **options)
