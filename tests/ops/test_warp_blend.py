"""What holds for the blend of two warps alone."""

import pytest
import torch

import vfi_kernels as vk


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_equals_two_warps_and_a_blend(backend, dtype, rng):
    frame0, frame1 = (torch.randn(2, 3, 9, 33, generator=rng).to(dtype).requires_grad_() for _ in range(2))
    flow = (torch.randn(2, 4, 7, 21, generator=rng) * 5).to(dtype).requires_grad_()
    mask = torch.randn(2, 1, 7, 21, generator=rng).to(dtype).requires_grad_()
    leaves = (frame0, frame1, flow, mask)
    m = mask.sigmoid()
    steps = vk.backward_warp(frame0, flow[:, :2]) * m + vk.backward_warp(frame1, flow[:, 2:]) * (1 - m)
    fused = vk.warp_blend(*leaves)
    cotangent = torch.randn(steps.shape, generator=rng).to(dtype)
    pairs = zip(torch.autograd.grad(fused, leaves, cotangent), torch.autograd.grad(steps, leaves, cotangent))
    tolerance = {"rtol": 0, "atol": 1e-12 if dtype == torch.float64 else 2e-5}
    torch.testing.assert_close(fused, steps, **tolerance)
    for got, expected in pairs:
        torch.testing.assert_close(got, expected, **tolerance)


def test_large_logits_take_one_frame(backend, rng):
    frame0, frame1 = torch.randn(2, 1, 3, 5, 6, generator=rng)
    flow = torch.randn(1, 4, 5, 6, generator=rng)
    mask = torch.full((1, 1, 5, 6), 200.0)
    for sign, frame, part in ((1, frame0, flow[:, :2]), (-1, frame1, flow[:, 2:])):
        out = vk.warp_blend(frame0, frame1, flow, sign * mask)
        torch.testing.assert_close(out, vk.backward_warp(frame, part), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "shape", "sentence"), [
    ("frame1", (2, 3, 5, 7), r"warp_blend: expected frame1 of shape \(2, 3, 5, 6\) as frame0 has, got \(2, 3, 5, 7\)"),
    ("flow", (2, 2, 5, 6), r"warp_blend: expected flow of shape \(B, 4, H, W\), got \(2, 2, 5, 6\)"),
    ("mask_logits", (2, 1, 5, 7), r"mask_logits of height and width \(5, 6\) as flow has, got \(2, 1, 5, 7\)"),
])  # fmt: skip
def test_wrong_arguments_get_one_sentence(backend, name, shape, sentence):
    shapes = {"frame0": (2, 3, 5, 6), "frame1": (2, 3, 5, 6), "flow": (2, 4, 5, 6), "mask_logits": (2, 1, 5, 6)}
    with pytest.raises(RuntimeError, match=sentence):
        vk.warp_blend(**{k: torch.zeros(s) for k, s in (shapes | {name: shape}).items()})


@pytest.mark.parametrize("name", ["frame0", "frame1", "flow", "mask_logits"])
def test_arguments_that_are_no_tensors_get_one_sentence(name):
    shapes = {"frame0": (2, 3, 5, 6), "frame1": (2, 3, 5, 6), "flow": (2, 4, 5, 6), "mask_logits": (2, 1, 5, 6)}
    arguments = {k: torch.zeros(s) for k, s in shapes.items()}
    for wrong, kind in ((arguments[name].numpy(), "ndarray"), (None, "NoneType")):
        with pytest.raises(RuntimeError) as caught:
            vk.warp_blend(**{**arguments, name: wrong})
        assert str(caught.value) == f"warp_blend: expected {name} to be a tensor, got {kind}"
