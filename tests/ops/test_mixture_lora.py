"""What holds for the linear layer with two adapters alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from compare import assert_near, gradients, oracle_forward, oracle_gradients
from ops.lora_layers import make, merged, naive
from torch.autograd import gradcheck, gradgradcheck

import vfi_kernels as vk

OPS = torch.ops.vfi_kernels


def test_by_hand(backend):
    """One feature in and out, rank 1: every number by itself."""
    x = torch.tensor([[1.0], [-2.0]])
    a, b = torch.tensor([2.0, torch.nan, -1.0]).view(3, 1, 1), torch.tensor([3.0, torch.nan, 5.0]).view(3, 1, 1)
    a_bias, b_bias = torch.tensor([[1.0], [torch.nan], [4.0]]), torch.tensor([[0.5], [torch.nan], [0.25]])
    out = vk.mixture_lora(x, torch.tensor([[10.0]]), torch.tensor([100.0]), a, b, a_bias, b_bias, 2)
    # 10 x + 100 + 3 (2 x + 1) + 0.5 + 5 (4 - x) + 0.25
    assert out.tolist() == [[134.75], [101.75]]


@pytest.mark.parametrize("expert", range(1, 7))
def test_fused_naive_and_merged_are_equal(backend, expert, rng):
    arguments = make(rng)
    got = vk.mixture_lora(*arguments, expert)
    for other in (naive, merged):
        torch.testing.assert_close(got, other(*arguments, expert), rtol=1e-12, atol=1e-12)
    single = [t.float() for t in arguments]
    largest = got.abs().max().item()
    for other in (naive, merged):
        result = vk.mixture_lora(*single, expert)
        torch.testing.assert_close(result, other(*single, expert), rtol=1e-5, atol=1e-5 * largest)


def test_gradients_equal_those_of_the_merged_layer(backend, rng):
    leaves = [t.requires_grad_() for t in make(rng)]
    cotangent = torch.randn(37, 19, generator=rng, dtype=torch.float64)
    grads = torch.autograd.grad(vk.mixture_lora(*leaves, 4), leaves, cotangent)
    for a, b in zip(grads, torch.autograd.grad(merged(*leaves, 4), leaves, cotangent)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


SEGMENTS = (
    ([0, 37], [3]),
    ([0, 10, 10, 37], [2, 5, 6]),  # an empty one
    ([0, 0, 1, 20, 36, 37, 37], [4, 1, 6, 1, 4, 2]),  # experts that come back, empty ones at both ends
)


@pytest.mark.parametrize(("offsets", "experts"), SEGMENTS, ids=["one", "empty", "again"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32], ids=str)
def test_packed_sequences_equal_each_alone(backend, offsets, experts, dtype, rng):
    leaves = [t.requires_grad_() for t in make(rng)]
    cotangent = torch.randn(37, 19, generator=rng, dtype=torch.float64)
    options = {"segments": torch.tensor(offsets, dtype=dtype)}
    packed = vk.mixture_lora(*leaves, torch.tensor(experts, dtype=dtype), **options)
    alone = [naive(leaves[0][i:j], *leaves[1:], e) for i, j, e in zip(offsets, offsets[1:], experts)]
    torch.testing.assert_close(packed, torch.cat(alone), rtol=1e-12, atol=1e-12)
    expected = torch.autograd.grad(torch.cat(alone), leaves, cotangent)
    for a, b in zip(torch.autograd.grad(packed, leaves, cotangent), expected):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("tokens", "size", "out", "rank"), [
    (1, 1, 1, 1), (70, 33, 130, 16), (5, 600, 3, 20), (300, 5, 7, 40), (3, 4, 5, 0), (0, 4, 5, 2),
])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_any_size(backend, tokens, size, out, rank, dtype, rng):
    """More of everything than a block has, and none."""
    arguments = make(rng, tokens, size, out, 3, rank, dtype)
    offsets = torch.tensor([0, tokens // 3, tokens])
    for call in (
        lambda *t: vk.mixture_lora(*t, 2),
        lambda *t: vk.mixture_lora(*t, torch.tensor([2, 1]), segments=offsets),
    ):
        assert_near(call(*arguments), oracle_forward(call, arguments)[0])
        cotangents = [torch.randn(tokens, out, generator=rng).mul(8).round() / 8]
        expected = oracle_gradients(call, arguments, cotangents)
        for got, wanted in zip(gradients(call, arguments, cotangents), expected):
            assert_near(got, wanted, slack=4, dtype=dtype)


@pytest.mark.parametrize("shape", [(24,), (0, 24), (5, 24), (2, 3, 24), (2, 1, 3, 4, 24)], ids=str)
def test_tokens_of_any_dimension(backend, shape, rng):
    _, *weights = make(rng)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    out = vk.mixture_lora(x, *weights, 1)
    assert out.shape == (*shape[:-1], 19)
    torch.testing.assert_close(out, naive(x, *weights, 1), rtol=1e-12, atol=1e-12)


def test_strides(backend, rng):
    """Slices of larger tensors, transposed weights, an expanded bias."""
    x, weight, bias, a, b, *biases = make(rng)
    views = torch.stack([x, x], 1)[:, 1], weight.mT.contiguous().mT, bias[:1].expand(19), a.mT.contiguous().mT
    leaves = [*views, torch.stack([b, b], 3)[..., 0], *(t.mT.contiguous().mT for t in biases)]
    leaves = [t.detach().requires_grad_() for t in leaves]
    dense = [t.detach().contiguous().requires_grad_() for t in leaves]
    got, expected = vk.mixture_lora(*leaves, 6), naive(*dense, 6)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    for g, w in zip(torch.autograd.grad(got.sum(), leaves), torch.autograd.grad(expected.sum(), dense)):
        torch.testing.assert_close(g, w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("present", ["bias", "lora_a_bias", "lora_b_bias", "none"])
def test_biases_that_are_not_there(backend, present, rng):
    names = ("x", "weight", "bias", "lora_a", "lora_b", "lora_a_bias", "lora_b_bias")
    filled = dict(zip(names, make(rng)))
    zeros = {n: t if not n.endswith("bias") or n == present else torch.zeros_like(t) for n, t in filled.items()}
    here = {n: t if not n.endswith("bias") or n == present else None for n, t in filled.items()}
    leaves = [t.requires_grad_() for t in here.values() if t is not None]
    got, expected = vk.mixture_lora(*here.values(), 2), naive(*zeros.values(), 2)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    for g, w in zip(torch.autograd.grad(got.sum(), leaves), torch.autograd.grad(expected.sum(), leaves)):
        torch.testing.assert_close(g, w, rtol=1e-12, atol=1e-12)


def test_adapters_of_nobody_are_not_read_and_get_no_gradient(backend, rng):
    arguments = make(rng, dtype=torch.float32)
    for t in arguments[3:]:
        t[1], t[3:] = torch.nan, torch.nan
    leaves = [t.requires_grad_() for t in arguments]
    out = vk.mixture_lora(*leaves, 2)
    assert out.isfinite().all()
    for grad in torch.autograd.grad(out.square().sum(), leaves)[3:]:
        assert grad[[0, 2]].isfinite().all() and grad[[0, 2]].count_nonzero() and not grad[[1, 3, 4, 5, 6]].any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_token_that_is_not_finite_reaches_its_own_adapters_only(backend, value, rng):
    arguments = make(rng, dtype=torch.float32)
    arguments[0][12, 3] = value
    leaves = [t.requires_grad_() for t in arguments]
    experts, segments = torch.tensor([2, 5, 6]), torch.tensor([0, 10, 20, 37])
    out = vk.mixture_lora(*leaves, experts, segments=segments)
    reached = (~out.isfinite()).any(1).nonzero().flatten().tolist()
    assert reached == [12] and not out[12].isfinite().any()
    cotangent = torch.ones(37, 19)
    cotangent[12] = value
    for grad in torch.autograd.grad(out, leaves, cotangent)[3:]:
        bad = (~grad.isfinite()).flatten(1).any(1)
        assert bad.tolist() == [True, False, False, False, False, True, False]


def test_what_is_frozen_costs_nothing(backend, rng, monkeypatch):
    """Only x and the adapters ask for a gradient, as in a training; the base layer's is there for who wants it."""
    asked = []

    def grad_op(*arguments):
        asked.append(arguments[-7:])
        return OPS.mixture_lora_grad(*arguments)

    monkeypatch.setattr("vfi_kernels.ops.mixture_lora.op._mixture_lora_grad", grad_op)
    x, weight, bias, *adapters = make(rng)
    leaves = [t.requires_grad_() for t in (x, *adapters)]
    grads = torch.autograd.grad(vk.mixture_lora(x, weight, bias, *adapters, 3).sum(), leaves)
    assert asked == [(True, False, False, True, True, True, True)]
    assert [g.shape for g in grads] == [t.shape for t in leaves]


@pytest.mark.parametrize("segments", [None, (0, 1, 1, 3, 4)], ids=["one", "segments"])
def test_first_and_second_derivatives(backend, segments, rng):
    leaves = [t.requires_grad_() for t in make(rng, 4, 3, 2, 3, 2)]

    def call(*tensors):
        if segments is None:
            return vk.mixture_lora(*tensors, 1)
        return vk.mixture_lora(*tensors, torch.tensor([1, 2, 2, 1]), segments=torch.tensor(segments))

    assert gradcheck(call, leaves)
    assert gradgradcheck(call, leaves)


def test_weights_of_another_dtype_are_rounded(backend, rng):
    """Adapters are often kept in float32 beside a half layer."""
    half = make(rng, dtype=torch.bfloat16)
    leaves = [*half[:3], *(t.float().requires_grad_() for t in half[3:])]
    out = vk.mixture_lora(*leaves, 5)
    assert out.dtype == torch.bfloat16 and torch.equal(out, vk.mixture_lora(*half, 5))
    assert all(g.dtype == torch.float32 for g in torch.autograd.grad(out.float().sum(), leaves[3:]))


def test_autocast_casts_as_linear_does(backend, rng):
    arguments = make(rng, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, linear = vk.mixture_lora(*arguments, 1), F.linear(*arguments[:3])
    assert out.dtype == linear.dtype == torch.bfloat16
    assert torch.equal(out, vk.mixture_lora(*(t.bfloat16() for t in arguments), 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert vk.mixture_lora(*(t.double() for t in arguments), 1).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_sums_are_not_rounded_on_the_way(backend, dtype, rng):
    """The error at 1024 features is that of a few roundings, not of a sum in half precision."""
    arguments = make(rng, 33, 1024, 65, 7, 16, dtype)
    expected = naive(*(t.double() for t in arguments), 3)
    error = (vk.mixture_lora(*arguments, 3).double() - expected).abs().max() / expected.abs().max()
    assert error <= {torch.float16: 2**-10, torch.bfloat16: 2**-7}[dtype]


def test_one_graph_for_every_expert(rng):
    tensors = make(rng, dtype=torch.float32)
    compiled = torch.compile(lambda expert: vk.mixture_lora(*tensors, expert), fullgraph=True, backend="aot_eager")
    for expert in (3, 4, 1):
        torch.testing.assert_close(compiled(expert), vk.mixture_lora(*tensors, expert))


def test_an_expert_may_be_any_integer(backend, rng):
    arguments = make(rng)
    assert torch.equal(vk.mixture_lora(*arguments, np.int64(2)), vk.mixture_lora(*arguments, 2))
