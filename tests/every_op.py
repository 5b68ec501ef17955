"""What tests of every op share: their parameters, the comparison with the float64 oracle, views of other strides."""

import contextlib

import pytest
import torch
from compare import assert_near, coarsest, cotangents_for, forward, gradients, oracle_results
from op_calls import CASES

from vfi_kernels.testing import tensors

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
with_flow = pytest.mark.parametrize("case", [c for c in CASES.values() if c.flow is not None], ids=lambda c: c.name)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def check_all(case, arguments, ways=(contextlib.nullcontext,)):
    """Forward and every gradient against the oracle, inside each of the contexts `ways`; gives those of the last."""
    expected_outs, expected_gradients = oracle_results(case.call, arguments, cotangents_for)
    cotangents = cotangents_for(expected_outs)
    # A gradient sums over channels or over the pixels that land on one target. That of a quotient needs the quotient
    # itself, rounded to the coarsest dtype in every channel.
    channels = sum(t.shape[1] for t in tensors(arguments[0])) if "splat" in case.op else 0
    for way in ways:
        with way():
            outs, grads = forward(case.call, arguments), gradients(case.call, arguments, cotangents)
        for got, expected in zip(outs, expected_outs):
            assert_near(got, expected, slack=case.slack)
        for got, expected in zip(grads, expected_gradients):
            assert_near(got, expected, slack=(4 + channels) * case.slack, dtype=coarsest(arguments))
    return outs, grads


def channels_last(t):
    return t.contiguous(memory_format=torch.channels_last)


def transposed(t):
    return t.transpose(-1, -2).contiguous().transpose(-1, -2)


def sliced(t):
    wide = torch.full((*t.shape[:2], t.shape[2] + 2, 2 * t.shape[3]), torch.nan, dtype=t.dtype)
    wide[:, :, 1:-1, ::2] = t
    return wide[:, :, 1:-1, ::2]


def expanded(t):
    return t[:1].expand(t.shape)
