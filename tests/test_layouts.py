"""Tensors that are not dense: one sentence from every op, which names the argument."""

import re

import pytest
import torch

import vfi_kernels as vk
from vfi_kernels import _overrides
from vfi_kernels.testing import generic_cases, map_tensors, tensors

CASES = {case.op: case for case in generic_cases().values()}
KINDS = {
    "sparse": lambda t: t.to_sparse(),
    "compressed": lambda t: t.flatten(1).to_sparse_csr(),
    "mkldnn": lambda t: t.float().to_mkldnn(),
    "nested": lambda t: torch.nested.nested_tensor([t[0], t[0]]),
    "jagged": lambda t: torch.nested.nested_tensor([t[0], t[0]], layout=torch.jagged),
    "quantized": lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
}


def changed(arguments, n, make):
    """The arguments with the n-th of their tensors made into another kind."""
    places = iter(range(len(tensors(arguments))))
    return map_tensors(lambda t: make(t) if next(places) == n else t, arguments)


def expect_dense(op, call):
    """Whether it gets to the op, which a case may not whose inputs are one tensor taken apart."""
    with pytest.raises(Exception) as error:
        call()
    reached = any(str(entry.frame.code.path) == _overrides.__file__ for entry in error.traceback)
    sentence = rf"{op}: expected a dense tensor for \w+, got one (of layout|that is) \S+"
    assert not reached or re.fullmatch(sentence, str(error.value)), str(error.value)[:200]
    return reached


@pytest.mark.filterwarnings("ignore")  # of torch, about these kinds
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", CASES)
def test_other_layouts_get_one_sentence(op, kind, rng):
    case = CASES[op]
    arguments = case.make_inputs(*case.small[-1], dtype=torch.float32, generator=rng)
    # The case of mixture_lora takes all but its first argument apart, into dense ones of those that have rows
    places = range(1 if op == "mixture_lora" else len(tensors(arguments)))
    calls = [lambda n=n: case.call(*changed(arguments, n, KINDS[kind])) for n in places]
    reached = [expect_dense(op, call) for call in calls]
    assert any(reached) or kind != "sparse"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_base_of_another_layout_gets_one_too(kind):
    listed, base = torch.zeros(1, 3, dtype=torch.int32), KINDS[kind](torch.rand(1, 3, 8, 8))
    x, weight = torch.rand(1, 3, 8, 8), torch.rand(3, 3, 1, 1)
    for op, call in {
        "patch_scatter_": lambda: vk.patch_scatter_(torch.rand(1, 3, 4, 4), listed, base),
        "routed_conv2d_": lambda: vk.routed_conv2d_(x, weight, None, listed, 4, base=base),
        "routed_conv2d": lambda: vk.routed_conv2d(x, weight, None, listed, 4, base=base),
    }.items():
        assert expect_dense(op, call)
