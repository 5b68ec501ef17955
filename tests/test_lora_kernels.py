"""mixture_lora as a GPU runs it, on the CPU: CUDA kernels emulated, Triton kernels interpreted. The tests of the op,
and what the host does not look at."""

import os

import pytest
import torch
from emulation import emulated_cuda, emulated_op
from ops.lora_layers import make
from ops.test_mixture_lora import (  # noqa: F401
    test_a_token_that_is_not_finite_reaches_its_own_adapters_only,
    test_adapters_of_nobody_are_not_read_and_get_no_gradient,
    test_any_size,
    test_autocast_casts_as_linear_does,
    test_biases_that_are_not_there,
    test_by_hand,
    test_fused_naive_and_merged_are_equal,
    test_gradients_equal_those_of_the_merged_layer,
    test_half_sums_are_not_rounded_on_the_way,
    test_packed_sequences_equal_each_alone,
    test_strides,
    test_tokens_of_any_dimension,
    test_what_is_frozen_costs_nothing,
)
from ops.test_mixture_lora_errors import test_wrong_choices, test_wrong_shapes  # noqa: F401
from triton_interpreter import quick_interpreter  # noqa: F401

import vfi_kernels as vk

pytestmark = pytest.mark.in_turn
SEEDS = (0, 1, 7)
interpreted = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="the interpreter is switched off")


def is_nightly(item):
    """The interpreter takes seconds for a call: single precision and the indices that torch makes, by day."""
    given = item.callspec.params if hasattr(item, "callspec") else {}
    return given.get("backend") == "triton" and not {torch.bfloat16, torch.int32}.isdisjoint(
        each for each in given.values() if isinstance(each, torch.dtype)
    )


@pytest.fixture(params=["cuda", pytest.param("triton", marks=interpreted)])
def backend(request):
    with emulated_cuda(seed=3) if request.param == "cuda" else vk.use_backend("triton"):
        yield request.param


@pytest.mark.parametrize("experts", [(1, 0, 2), (1, 3, 2), (1, -5, 2), (1, 2**40, 2)], ids=str)
def test_an_expert_out_of_range_gives_nan(experts, backend, rng):
    x, *layer = make(rng, 150, 9, 11, 3, 4, torch.float32)
    leaves = [t.requires_grad_() for t in (x, *layer)]
    out = vk.mixture_lora(*leaves, torch.tensor(experts), segments=torch.tensor([0, 30, 110, 150]))
    wrong = torch.arange(150).sub(30).div(80, rounding_mode="floor") == 0
    assert out[wrong].isnan().all() and out[~wrong].isfinite().all()
    grad_x, *_, a, b, a_bias, b_bias = torch.autograd.grad(out.sum(), leaves)
    assert grad_x[wrong].isnan().all() and grad_x[~wrong].isfinite().all()
    assert all(t[1:].isfinite().all() for t in (a, b, a_bias, b_bias))


@pytest.mark.parametrize("segments", [(5, 60, 90), (0, 200, 90), (0, -7, 90), (0, 60, 10**15), (90, 0, 0)], ids=str)
def test_segments_that_do_not_go_up_stay_inside(segments, backend, rng):
    """What comes out is undefined; AddressSanitizer looks at what is read and written."""
    leaves = [t.requires_grad_() for t in make(rng, 90, 9, 11, 3, 4, torch.float32)]
    out = vk.mixture_lora(*leaves, torch.tensor([1, 2]), segments=torch.tensor(segments))
    assert out.shape == (90, 11)
    torch.autograd.grad(out.sum(), leaves)


def test_no_sum_depends_on_the_order_of_threads(rng):
    """Long sides and many tokens: sums of parts."""
    leaves = [t.requires_grad_() for t in make(rng, 300, 600, 70, 4, 5, torch.float32)]
    results = []
    for seed in SEEDS:
        with emulated_cuda(seed):
            out = vk.mixture_lora(*leaves, torch.tensor([3, 1, 3]), segments=torch.tensor([0, 100, 100, 300]))
            results.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def test_factors_in_tf32(rng):
    """They lose 13 bits, sums do not; sums of rows lose none."""
    leaves, results = [t.requires_grad_() for t in make(rng, 70, 40, 50, 3, 5, torch.float32)], {}
    before = torch.get_float32_matmul_precision()
    for precision in ("highest", "high"):
        torch.set_float32_matmul_precision(precision)
        try:
            with emulated_cuda(seed=3):
                out = vk.mixture_lora(*leaves, 2)
                results[precision] = [out, *torch.autograd.grad(out.square().sum(), leaves)]
        finally:
            torch.set_float32_matmul_precision(before)
    for exact, rounded in zip(results["highest"], results["high"]):
        assert 0 < (rounded - exact).norm() / exact.norm() < 2**-8
    tensors = [t.detach() for n, t in enumerate(leaves) if n not in (2, 6)]
    *_, sums = emulated_op("mixture_lora_grad")(
        torch.full((70, 50), 1 + 2**-12), *tensors, 2, None, None, True, *[False] * 6, True
    )
    assert (sums[[0, 2]] == 70 * (1 + 2**-12)).all() and not sums[1].any()
