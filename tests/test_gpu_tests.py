"""The tests of tests/gpu on the C++ kernels: one that cannot pass, whatever the kernel, is noticed without a GPU."""

import sys
from pathlib import Path

import pytest
import torch
from every_op import channels_last, every_case, expanded, transposed, with_flow

import vfi_kernels as vk

sys.path.insert(0, str(Path(__file__).resolve().parent / "gpu"))
import test_gpu_agreement as agreement

pytestmark = [pytest.mark.slow, pytest.mark.in_turn]
WIDE = [(torch.float16, torch.float32), (torch.bfloat16, torch.float64), (torch.float64, torch.float16)]


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    def make(case, shape=agreement.SHAPE, dtype=torch.float32, **options):
        generator = torch.Generator().manual_seed(3)
        return case.make_inputs(*shape, dtype=dtype, generator=generator, device="cpu", **options)

    monkeypatch.setattr(agreement, "make", make)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    with vk.use_backend("cpp"):
        yield


@every_case
def test_agrees_in_float32(case):
    agreement.test_agrees_with_the_oracle(case, "cpp", torch.float32)


@with_flow
def test_every_kind_of_flow(case):
    agreement.test_every_kind_of_flow(case, "cpp")


@with_flow
def test_non_finite_and_huge_positions(case):
    agreement.test_non_finite_and_huge_positions(case, "cpp")


@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_agrees_with_the_oracle(case, dtype):
    agreement.test_agrees_with_the_oracle(case, "cpp", dtype)


@every_case
@pytest.mark.parametrize("view", [channels_last, transposed, agreement.sliced, expanded], ids=lambda f: f.__name__)
def test_any_strides(case, view):
    agreement.test_any_strides(case, "cpp", view)


@every_case
def test_empty(case):
    agreement.test_empty(case, "cpp")


@with_flow
@pytest.mark.parametrize("image_dtype, other_dtype", WIDE)
def test_mixed_dtypes(case, image_dtype, other_dtype):
    agreement.test_mixed_dtypes(case, "cpp", str(image_dtype).split(".")[1], str(other_dtype).split(".")[1])


@pytest.mark.parametrize("name", ["backward_warp-border", "warp_blend", "splat-average"])
def test_wide_and_tall(name):
    agreement.test_wide_and_tall(name, "cpp")
