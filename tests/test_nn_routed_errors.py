"""The modules that compute active patches only: wrong arguments and wrong calls."""

import pytest
import torch
from torch import nn

import vfi_kernels as vk


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: vk.nn.RoutedConv2d(3, 5, 5, 8), "kernel_size 1 or 3, got 5"),
        (lambda: vk.nn.RoutedConv2d(3, 5, 3, 8, transposed=True), "kernel_size 4 for a transposed convolution, got 3"),
        (lambda: vk.nn.RoutedConv2d(3, 5, 4, 8, transposed=True), "stride 2, got 1"),
        (lambda: vk.nn.RoutedConv2d(3, 5, "3", 8), "kernel_size 1 or 3, got '3'"),
        (lambda: vk.nn.RoutedConv2d(3, 5, 3, 0), "patch"),
        (lambda: vk.nn.RoutedConv2d(3, 5, 3, 2**70), "patch to be an integer below 2"),
        (lambda: vk.nn.RoutedConv2d(3, 5, 3, 8, negative_slope="a"), "negative_slope to be a finite number"),
        (lambda: vk.nn.RoutedConv2d(3, 5, 3, 8, activation="tanh"), "activation"),
        (lambda: vk.nn.RoutedBlock(nn.Identity(), 8, halo=-1), "halo"),
        (lambda: vk.nn.RoutedBlock(nn.Identity(), 8, chunk=0), "chunk"),
    ],
)
def test_wrong_arguments_get_one_sentence(make, message):
    with pytest.raises(RuntimeError, match=f"Routed[A-Za-z0-9]+: expected .*{message}"):
        make()


X, ROUTE = torch.zeros(1, 3, 32, 32), torch.ones(1, 4, 4, dtype=torch.bool)
LAYER = nn.Conv2d(3, 3, 3, padding=1)


class Returns(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, *x):
        return self.call(*x)


def run(x, *rest, module=LAYER, **options):
    return vk.nn.RoutedBlock(module, 8, halo=2)(x, *rest, **options)


WRONG = [
    (lambda: run((), ROUTE), "at least one input, got none"),
    (lambda: run(None, ROUTE), "x to be a tensor, got NoneType"),
    (lambda: run(X.numpy(), ROUTE), "x to be a tensor, got ndarray"),
    (lambda: run(X[0], ROUTE), r"input of shape \(B, C, H, W\), got \(3, 32, 32\)"),
    (lambda: run(X[..., :30], ROUTE), "input whose height and width are multiples of the patch of 8 pixels"),
    (lambda: run([X, X[:, :, :16]], ROUTE), r"inputs of one .* \(1, 32, 32\), got \(1, 3, 16, 32\)"),
    (lambda: run([X, X.expand(2, -1, -1, -1)], ROUTE), r"inputs of one .* \(1, 32, 32\), got \(2, 3, 32, 32\)"),
    *((lambda size=size: run(X, torch.ones(size, dtype=torch.bool)),
       rf"a route of shape \(B, H / patch, W / patch\) = \(1, 4, 4\), got \({', '.join(map(str, size))}\)")
      for size in ((1, 2, 2), (2, 4, 4), (1, 4, 5), (4, 4))),
    (lambda: vk.nn.RoutedConv2d(3, 3, 3, 8)(X, ROUTE[:, :2]), "a route of shape .*, got"),
    (lambda: run(X, ROUTE.int()), "a route of dtype bool, got int32"),
    (lambda: run(X, ROUTE.float()), "a route of dtype bool, got float32"),
    (lambda: run(X, vk.patch_indices(ROUTE).long()), "indices of dtype int32, got int64"),
    (lambda: run(X, ROUTE.numpy()), "indices to be a tensor, got ndarray"),
    (lambda: run(X, ROUTE, 0.0), "base to be a tensor, got float"),
    (lambda: run(X, ROUTE, X.numpy()), "base to be a tensor, got ndarray"),
    (lambda: run(X, ROUTE, X[:, :, :16]), r"base of shape \(1, 3, 32, 32\) as the output has, got \(1, 3, 16, 32\)"),
    (lambda: run(X, ROUTE, X.expand(2, -1, -1, -1)), r"base of shape \(1, 3, 32, 32\) as the output has, got \(2, 3"),
    (lambda: run(X, ROUTE, X.double()), "base of dtype float32 as x and the output have, got float64"),
    (lambda: run(X, ROUTE, module=Returns(lambda t: (t, t))), "a block that returns a tensor, got tuple"),
    (lambda: run(X, ROUTE, module=Returns(lambda t: None)), "a block that returns a tensor, got NoneType"),
]  # fmt: skip


@pytest.mark.parametrize("call, message", WRONG, ids=range(len(WRONG)))
@pytest.mark.parametrize("recording", [True, False])
def test_wrong_calls_get_one_sentence(call, message, recording):
    with (
        torch.set_grad_enabled(recording),
        pytest.raises(RuntimeError, match=f"^Routed[A-Za-z0-9]+: expected {message}"),
    ):
        call()
