"""What holds for backward warping alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vfi_kernels as vk

PADDING_MODES = ("border", "zeros", "reflection")
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@pytest.mark.parametrize("padding_mode", PADDING_MODES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_zero_flow_is_a_bitwise_copy(backend, dtype, padding_mode, rng):
    image = torch.randn(2, 3, 9, 37, generator=rng).to(dtype)
    image[0, 0, 0, 0], image[1, 2, 8, 36], image[1, 0, 4, 4] = torch.nan, torch.inf, -0.0
    flow = torch.zeros(2, 2, 9, 37)
    assert torch.equal(vk.backward_warp(image, flow, padding_mode=padding_mode).nan_to_num(7.0), image.nan_to_num(7.0))


@quick
@given(
    dx=st.integers(-40, 40),
    dy=st.integers(-12, 12),
    padding_mode=st.sampled_from(PADDING_MODES),
    seed=st.integers(0, 9),
)
def test_integer_flow_is_an_exact_shift(dx, dy, padding_mode, seed):
    image = torch.randn(1, 2, 9, 37, generator=torch.Generator().manual_seed(seed))
    flow = torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, 9, 37)
    result = vk.backward_warp(image, flow, padding_mode=padding_mode)
    if padding_mode == "reflection":  # 0 1 2 ... 36 35 ... 1 0 1 ...
        columns, rows = (torch.tensor([*range(n), *range(n - 2, 0, -1)]) for n in (37, 9))
        shifted = image[..., rows.roll(-dy)[:9], :][..., columns.roll(-dx)[:37]]
    else:
        padded = F.pad(image, (40, 40, 12, 12), mode="replicate" if padding_mode == "border" else "constant")
        shifted = padded[..., 12 + dy :, 40 + dx :][..., :9, :37]
    assert torch.equal(result, shifted)


@quick
@given(
    flow=st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=12, max_size=12),
    padding_mode=st.sampled_from(PADDING_MODES),
)
def test_any_float_is_a_legal_flow(flow, padding_mode):
    image = torch.arange(1.0, 16).view(1, 1, 3, 5)
    flow = torch.tensor(flow).view(1, 2, 2, 3)
    out = vk.backward_warp(image, flow, padding_mode=padding_mode)
    assert out.isfinite().all() and out.max() <= 15.001 and out.min() >= (0 if padding_mode == "zeros" else 0.999)
    with vk.use_backend("reference"):
        expected = vk.backward_warp(image.double(), flow.double(), padding_mode=padding_mode)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding_mode", PADDING_MODES)
def test_agrees_with_grid_sample_in_float64(backend, padding_mode, rng):
    """An oracle that shares no code with us; gradients too."""
    image = torch.randn(2, 3, 11, 23, generator=rng, dtype=torch.float64, requires_grad=True)
    flow = (torch.randn(2, 2, 11, 23, generator=rng, dtype=torch.float64) * 20).requires_grad_()
    ys, xs = torch.meshgrid(torch.arange(11.0).double(), torch.arange(23.0).double(), indexing="ij")
    grid = torch.stack([(xs + flow[:, 0]) * 2 / 22 - 1, (ys + flow[:, 1]) * 2 / 10 - 1], -1)
    expected = F.grid_sample(image, grid, "bilinear", padding_mode, align_corners=True)
    result = vk.backward_warp(image, flow, padding_mode=padding_mode)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    cotangent = torch.randn(result.shape, generator=rng, dtype=torch.float64)
    gradients = [torch.autograd.grad(out, (image, flow), cotangent) for out in (result, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-11)


@pytest.mark.parametrize("padding_mode", PADDING_MODES)
def test_image_of_another_size(backend, padding_mode, rng):
    image = torch.randn(2, 3, 6, 40, generator=rng, dtype=torch.float64, requires_grad=True)
    flow = (torch.randn(2, 2, 9, 21, generator=rng, dtype=torch.float64) * 5).requires_grad_()
    out = vk.backward_warp(image, flow, padding_mode=padding_mode)
    cotangent = torch.randn(out.shape, generator=rng, dtype=torch.float64)
    grads = torch.autograd.grad(out, (image, flow), cotangent)
    with vk.use_backend("reference"):
        expected = vk.backward_warp(image, flow, padding_mode=padding_mode)
        expected_gradients = torch.autograd.grad(expected, (image, flow), cotangent)
    assert out.shape == (2, 3, 9, 21)
    for got, want in zip((out, *grads), (expected, *expected_gradients)):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-11)


def test_flow_gradient_is_right_sided_and_zero_where_clipped(backend):
    """I(x) = x^2 on 0..4: right-hand difference 2x + 1 inside, 0 on and beyond the borders."""
    image = (torch.arange(5.0) ** 2).view(1, 1, 1, 5)
    flow = torch.zeros(1, 2, 1, 5, requires_grad=True)
    vk.backward_warp(image, flow).sum().backward()
    assert flow.grad[0, 0, 0].tolist() == [0, 3, 5, 7, 0]
    flow = torch.zeros(1, 2, 1, 5, requires_grad=True)
    vk.backward_warp(image, flow, padding_mode="zeros").sum().backward()
    assert flow.grad[0, 0, 0].tolist() == [1, 3, 5, 7, -16]
    flow = torch.zeros(1, 2, 1, 5)
    flow[:, 0] = 6  # positions 6 to 10 read 2, 1, 0, 1, 2
    flow.requires_grad_()
    vk.backward_warp(image, flow, padding_mode="reflection").sum().backward()
    assert flow.grad[0, 0, 0].tolist() == [-3, -1, 0, 3, 5]


def test_non_finite_flow(backend):
    """border: NaN is coordinate 0, +inf the far edge, -inf the near one; zeros: 0; reflection: all three are coordinate
    0. Such a component has no gradient."""
    image = torch.arange(1.0, 6).view(1, 1, 1, 5).requires_grad_()
    flow = torch.zeros(1, 2, 1, 5)
    flow[0, 0, 0] = torch.tensor([torch.nan, torch.inf, -torch.inf, 0, 0])
    flow[0, 1, 0, 3] = torch.nan
    flow.requires_grad_()
    out = vk.backward_warp(image, flow)
    assert out.flatten().tolist() == [1, 5, 1, 4, 5]
    out.sum().backward()
    assert flow.grad[0, 0, 0].tolist() == [0, 0, 0, 1, 0] and flow.grad[0, 1].abs().sum() == 0
    assert image.grad.flatten().tolist() == [2, 0, 0, 1, 2]
    image.grad = flow.grad = None
    out = vk.backward_warp(image, flow, padding_mode="zeros")
    assert out.flatten().tolist() == [0, 0, 0, 0, 5]
    out.sum().backward()
    assert image.grad.flatten().tolist() == [0, 0, 0, 0, 1]
    assert flow.grad[0, 0, 0].tolist() == [0, 0, 0, 0, -5]
    image.grad = flow.grad = None
    out = vk.backward_warp(image, flow, padding_mode="reflection")
    assert out.flatten().tolist() == [1, 1, 1, 4, 5]
    out.sum().backward()
    assert image.grad.flatten().tolist() == [3, 0, 0, 1, 1]
    assert flow.grad[0, 0, 0].tolist() == [0, 0, 0, 1, 0] and flow.grad[0, 1].abs().sum() == 0


def test_a_corner_of_weight_zero_is_not_read(backend):
    """Neither an infinite neighbour nor a NaN one leaks through 0 * inf, forward or backward."""
    image = torch.tensor([[1.0, torch.inf], [torch.nan, 2.0]]).view(1, 1, 2, 2)
    flow = torch.zeros(1, 2, 2, 2, requires_grad=True)
    out = vk.backward_warp(image, flow, padding_mode="zeros")
    assert out.flatten().nan_to_num(7).tolist() == [1, torch.finfo(torch.float32).max, 7, 2] or out[0, 0, 0, 1].isinf()
    out[0, 0, 1, 1].backward()
    assert flow.grad[0, :, 1, 1].tolist() == [-2, -2]


def test_half_precision_positions_do_not_round(backend):
    """At x = 2000 float16 steps by 1 and bfloat16 by 8: a position computed in them would miss by pixels."""
    ramp = torch.arange(2048.0).view(1, 1, 1, 2048)
    for dtype in (torch.float16, torch.bfloat16):
        image = (ramp % 16).to(dtype)
        out = vk.backward_warp(image, torch.full((1, 2, 1, 2048), 0.25, dtype=dtype))
        inside = (ramp % 16 != 15).flatten()[:-1]
        assert torch.equal(out.flatten()[:-1][inside].float(), (image.flatten()[:-1][inside].float() + 0.25))


def test_validity(backend):
    flow = torch.zeros(1, 2, 2, 4)
    flow[0, 0] = torch.tensor([[0.0, 0.0, 0.0, 0.0], [-0.5, 1.0, 1.5, torch.nan]])
    out, valid = vk.backward_warp(torch.rand(1, 3, 2, 4), flow, return_validity=True)
    assert valid.dtype == torch.bool and valid.shape == (1, 1, 2, 4) and out.shape == (1, 3, 2, 4)
    assert valid.flatten().tolist() == [True] * 4 + [False, True, False, False]


ERRORS = [
    (((3, 4, 5), (1, 2, 4, 5)), {}, r"backward_warp: expected image of shape \(B, C, H, W\), got \(3, 4, 5\)"),
    (((2, 1, 7, 9), (2, 1, 7, 9)), {}, r"backward_warp: expected flow of shape \(B, 2, H, W\), got \(2, 1, 7, 9\)"),
    (((2, 1, 7, 9), (1, 2, 7, 9)), {}, r"flow of shape \(B, 2, H, W\) with B = 2 as image has, got \(1, 2, 7, 9\)"),
    (
        ((2, 1, 7, 9), (2, 2, 7, 9)),
        {"padding_mode": "reflect"},
        "expected padding_mode 'border', 'zeros' or 'reflection', got 'reflect'",
    ),
    (((2, 1, 0, 9), (2, 2, 7, 9)), {}, r"image with at least one pixel where flow has any, got \(2, 1, 0, 9\)"),
]


@pytest.mark.parametrize(("shapes", "options", "sentence"), ERRORS)
def test_wrong_arguments_get_one_sentence(backend, shapes, options, sentence):
    with pytest.raises(RuntimeError, match=sentence):
        vk.backward_warp(*(torch.zeros(s) for s in shapes), **options)


def test_wrong_dtype(backend):
    with pytest.raises(RuntimeError, match="expected image of dtype float64, float32, float16 or bfloat16, got int64"):
        vk.backward_warp(torch.zeros(1, 1, 2, 2, dtype=torch.int64), torch.zeros(1, 2, 2, 2))
    with pytest.raises(RuntimeError, match="expected flow of dtype float64, float32, float16 or bfloat16, got int32"):
        vk.backward_warp(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2, dtype=torch.int32))


@pytest.mark.parametrize(("change", "sentence"), [
    ({"image": np.zeros((1, 1, 2, 2))}, "expected image to be a tensor, got ndarray"),
    ({"flow": np.zeros((1, 2, 2, 2))}, "expected flow to be a tensor, got ndarray"),
    ({"flow": None}, "expected flow to be a tensor, got NoneType"),
    ({"padding_mode": None}, "expected padding_mode 'border', 'zeros' or 'reflection', got NoneType"),
    ({"padding_mode": 1}, "expected padding_mode 'border', 'zeros' or 'reflection', got int"),
])  # fmt: skip
def test_arguments_of_the_wrong_kind_get_one_sentence(change, sentence):
    with pytest.raises(RuntimeError) as caught:
        vk.backward_warp(**{"image": torch.zeros(1, 1, 2, 2), "flow": torch.zeros(1, 2, 2, 2), **change})
    assert str(caught.value) == f"backward_warp: {sentence}"


def test_symbolic_trace():
    """What stands for a tensor in a graph of torch.fx counts as one."""
    image, flow = torch.rand(1, 1, 3, 4), torch.rand(1, 2, 3, 4)
    traced = torch.fx.symbolic_trace(lambda image, flow: vk.backward_warp(image, flow, padding_mode="zeros"))
    assert torch.equal(traced(image, flow), vk.backward_warp(image, flow, padding_mode="zeros"))


@pytest.mark.parametrize(("dtype", "tiny"), [(torch.float32, 1e-30), (torch.float64, 1e-200), (torch.bfloat16, 1e-30)])
def test_a_weight_whose_product_is_0_is_read(backend, dtype, tiny):
    """1e-30 of a pixel along both axes is not a whole pixel: every sampling op sees the NaN there."""
    image = torch.rand(1, 1, 4, 40).to(dtype)
    image[0, 0, 1, 1] = torch.nan
    flow = torch.full((1, 2, 4, 40), tiny, dtype=torch.promote_types(dtype, torch.float32))
    for result in (
        vk.backward_warp(image, flow),
        vk.backward_warp(image, flow, padding_mode="zeros"),
        vk.backward_warp(image, flow, padding_mode="reflection"),
        vk.warp_blend(image, image, torch.cat([flow, flow], 1), torch.zeros_like(flow[:, :1])),
        vk.trajectory_warp(image, flow[:, None], [0.0])[:, 0],
    ):
        assert result[0, 0].isnan().nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
