"""What holds for routed_conv2d_ alone."""

import pytest
import torch
from ops.routed_convolutions import LIST, PATCH, W, X, make, route_of
from worded import with_numbers

import vfi_kernels as vk

OPS = torch.ops.vfi_kernels


def test_in_place_writes_only_listed_patches_of_a_view(backend, rng):
    (x, weight, bias), _ = make("3x3", rng)
    route = route_of(x, rng)
    indices = vk.patch_indices(route)
    wide = torch.randn(2, 14, 12, 40, generator=rng, dtype=torch.float64)
    before, base = wide.clone(), wide[:, ::2, :, ::2]
    expected = vk.routed_conv2d(x, weight, bias, indices, PATCH, base=base)
    assert vk.routed_conv2d_(x, weight, bias, indices, PATCH, base=base) is base
    assert torch.equal(base, expected)
    assert torch.equal(wide[:, 1::2], before[:, 1::2]) and torch.equal(wide[..., 1::2], before[..., 1::2])


def test_in_place_op_is_registered_as_one(rng):
    (x, weight, bias), _ = make("3x3", rng, dtype=torch.float32)
    indices = vk.patch_indices(route_of(x, rng), capacity=9)
    arguments = (
        x,
        weight,
        bias,
        indices,
        PATCH,
        1,
        False,
        "image",
        "prelu",
        bias,
        0.01,
        False,
        torch.zeros(2, 7, 12, 20),
    )
    torch.library.opcheck(OPS.routed_conv2d_.default, with_numbers("routed_conv2d_", arguments))


def test_writing_in_place_is_seen_by_autograd(rng):
    leaf = torch.randn(1, 5, 8, 12, generator=rng).requires_grad_()
    saved = leaf.exp()
    loss = saved.sum()
    with torch.no_grad():
        vk.routed_conv2d_(X, W, None, LIST, 4, base=saved)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_autocast_in_place_is_that_of_the_base(rng):
    """A base of autocast's dtype takes what conv2d would give; one of x's dtype has no other to be computed in."""
    (x, weight, bias), _ = make("3x3", rng, dtype=torch.float32)
    indices, shape = vk.patch_indices(route_of(x, rng)), (2, 7, 12, 20)
    for dtype in (torch.float32, torch.bfloat16):
        expected = vk.routed_conv2d(*(t.to(dtype) for t in (x, weight, bias)), indices, PATCH)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            base = torch.zeros(shape, dtype=dtype)
            assert vk.routed_conv2d_(x, weight, bias, indices, PATCH, base=base) is base
        assert torch.equal(base, expected)
        with (
            torch.autocast("cpu", dtype=torch.bfloat16),
            pytest.raises(
                RuntimeError, match=r"^routed_conv2d_: expected base of dtype float32 as input has, got float16"
            ),
        ):
            vk.routed_conv2d_(x, weight, bias, indices, PATCH, base=base.half())


def test_writing_in_place_refuses_to_drop_a_gradient(backend):
    base = torch.zeros(1, 5, 8, 12)
    with pytest.raises(
        RuntimeError, match=r"routed_conv2d_: expected tensors without requires_grad.* use routed_conv2d"
    ):
        vk.routed_conv2d_(X, W.clone().requires_grad_(), None, LIST, 4, base=base)
