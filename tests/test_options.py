"""The words of options and their numbers: Python, C++ and the schemas say the same."""

import pytest
import torch
import vfi_kernels_testing as native
from worded import WordedOps

import vfi_kernels as vk
from vfi_kernels import _options as options
from vfi_kernels._autograd import NAMESPACE

SCHEMAS = [s for s in torch._C._jit_get_all_schemas() if s.name.startswith(f"{NAMESPACE}::")]


def test_python_and_cpp_have_the_same_words_in_the_same_order():
    pairs = [*options.OPTIONS.items(), *options.PATCH_OPTIONS.items()]
    assert {(name, tuple(words)) for name, words in pairs} == set(native.options())
    assert all(list(words.values()) == list(range(len(words))) for _, words in pairs)


def test_no_string_crosses_the_boundary():
    """torch's stable ABI never frees its copy of one."""
    assert len(SCHEMAS) > 20
    for schema in SCHEMAS:
        assert "str" not in [str(a.type) for a in (*schema.arguments, *schema.returns)], str(schema)
        assert "str" not in [str(a.type).removeprefix("Optional[").rstrip("]") for a in schema.arguments], str(schema)


@pytest.mark.parametrize("number", [-1, 3, 2**40])
def test_a_number_without_a_word_is_one_sentence(backend, number):
    image, flow = torch.rand(1, 1, 2, 2), torch.zeros(1, 2, 2, 2)
    expected = f"backward_warp: expected padding_mode 0 ('border'), 1 ('zeros') or 2 ('reflection'), got {number}"
    for mode in (torch.no_grad(), torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True)):
        with mode, pytest.raises(RuntimeError) as caught:
            WordedOps().backward_warp(image, flow, number)
        assert str(caught.value).splitlines()[0] == expected


@pytest.mark.parametrize("padding_mode", ["reflect", 0, None, ["border"]])
def test_the_public_functions_take_words_only(padding_mode):
    got = f"'{padding_mode}'" if isinstance(padding_mode, str) else type(padding_mode).__name__
    with pytest.raises(RuntimeError) as caught:
        vk.backward_warp(torch.rand(1, 1, 2, 2), torch.zeros(1, 2, 2, 2), padding_mode=padding_mode)
    assert str(caught.value) == f"backward_warp: expected padding_mode 'border', 'zeros' or 'reflection', got {got}"
