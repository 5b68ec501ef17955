"""Blocks of the deformable convolution's gradient that go through several steps. In small images each has one tap."""

import pytest
import torch
from every_op import channels_last, check_all
from op_calls import CASES, make

from vfi_kernels.bench import simulator
from vfi_kernels.testing import map_tensors


@pytest.mark.nightly
@pytest.mark.parametrize("way", ["atomic", "deterministic"])
@pytest.mark.parametrize("shape", [(520, 8, 1, 2), (130, 80, 2, 3)], ids=str)
def test_several_taps_of_a_block(shape, way, monkeypatch):
    """Or two pieces of the channels, with two pieces of the output channels each."""
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: way == "deterministic")
    case = CASES["modulated_deform_conv2d-8"]
    with simulator.simulated(seed=1, ops=["modulated_deform_conv2d"]):
        check_all(case, map_tensors(channels_last, make(case, shape, torch.float16)))
