"""Each GPU backend against the float64 reference: values and gradients of every case."""

import pytest
import torch
from compare import assert_near, forward, gradients, oracle_forward, oracle_gradients
from every_op import channels_last, check_all, every_case, every_dtype, expanded, transposed, with_flow
from op_calls import CASES

from vfi_kernels.testing import map_tensors, tensors

SHAPE = (2, 5, 19, 70)


def make(case, shape=SHAPE, dtype=torch.float32, **options):
    generator = torch.Generator().manual_seed(3)
    return case.make_inputs(*shape, dtype=dtype, generator=generator, device="cuda", **options)


@every_case
@every_dtype
def test_agrees_with_the_oracle(case, backend, dtype):
    for shape in (*case.small, SHAPE, (1, 64, 9, 40)):
        check_all(case, make(case, shape, dtype))


@with_flow
def test_every_kind_of_flow(case, backend):
    for flow in ("integer", "smooth", "zoom-out", "zero", "point"):
        check_all(case, make(case, flow=flow))


def sliced(t):
    wide = torch.full((*t.shape[:2], t.shape[2] + 2, 2 * t.shape[3]), torch.nan, dtype=t.dtype, device=t.device)
    wide[:, :, 1:-1, ::2] = t
    return wide[:, :, 1:-1, ::2]


@every_case
@pytest.mark.parametrize("view", [channels_last, transposed, sliced, expanded], ids=lambda f: f.__name__)
def test_any_strides(case, backend, view):
    check_all(case, map_tensors(view, make(case, (2, 24, 7, 37), torch.float16)))


@every_case
def test_empty(case, backend):
    for shape in [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)]:
        arguments = make(case, shape)
        expected = oracle_forward(case.call, arguments)
        assert [o.shape for o in forward(case.call, arguments)] == [o.shape for o in expected]
        ones = [torch.ones_like(o) for o in expected]
        for got, wanted in zip(gradients(case.call, arguments, ones), oracle_gradients(case.call, arguments, ones)):
            assert_near(got, wanted)


@with_flow
def test_non_finite_and_huge_positions(case, backend):
    arguments = list(make(case))
    flow = arguments[case.flow]
    for row, value in enumerate([torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 3e9]):  # keyframes may be 10 rows high
        flow[:, 0, row, ::3] = value
        flow[:, 1, row, 1::3] = value
        flow[:, :, row, 5::9] = value
    check_all(case, arguments)


@with_flow
@pytest.mark.parametrize(
    "image_dtype, other_dtype", [("float16", "float32"), ("bfloat16", "float64"), ("float64", "float16")]
)
def test_mixed_dtypes(case, backend, image_dtype, other_dtype):
    arguments = make(case, dtype=torch.float64)
    frames = {id(t) for t in tensors(arguments[: case.flow])}
    check_all(
        case, map_tensors(lambda t: t.to(getattr(torch, image_dtype if id(t) in frames else other_dtype)), arguments)
    )


@pytest.mark.parametrize("name", ["backward_warp-border", "warp_blend", "splat-average"])
def test_wide_and_tall(name, backend):
    """More than one block, and columns longer than what one thread walks."""
    for shape in [(1, 3, 130, 300), (3, 4, 257, 33)]:
        check_all(CASES[name], make(CASES[name], shape))


@pytest.mark.parametrize("precision", ["highest", "high"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
def test_precision_of_float32_products(precision, layout, backend):
    """Groups wider than a block, with torch's setting for float32 on tensor cores: tf32 has 10 bits of mantissa."""
    case = CASES["modulated_deform_conv2d-4"]
    arguments = map_tensors(lambda t: t.contiguous(memory_format=layout), make(case, (1, 192, 23, 31)))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        result = forward(case.call, arguments)
        cotangents = [torch.ones_like(o) for o in result]
        result += gradients(case.call, arguments, cotangents)
    finally:
        torch.set_float32_matmul_precision(before)
    expected = oracle_forward(case.call, arguments) + oracle_gradients(case.call, arguments, cotangents)
    for got, wanted in zip(result, expected):
        assert_near(got, wanted, slack=4, dtype=torch.float32 if precision == "highest" else torch.float16)
