"""The CPU kernels along trajectories: every instruction set, dtype, layout, width, and large results."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from compare import assert_near
from levels import every_level, run_at_level

import vfi_kernels as vk

PADDING_MODES = ("border", "zeros", "reflection")
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
AROUND_A_RUN = (127, 128, 129, 131, 255, 257)  # pixels: csrc/base/chunk.h


def results(image, keyframes, taus, metric, padding_mode):
    flows = vk.sample_trajectory(keyframes, taus) if keyframes.shape[3:] == image.shape[2:] else keyframes[:, :0]
    warped = vk.trajectory_warp(image, keyframes, taus, padding_mode=padding_mode)
    return flows, warped, vk.trajectory_splat(image, keyframes, taus, metric)


def check_every_path(seed: int = 0) -> None:
    """The kernels of this process's CPU level against the reference in float64, around widths of vectors and runs."""
    rng = torch.Generator().manual_seed(seed)
    choices = itertools.cycle(itertools.product(DTYPES, LAYOUTS, (1, 3, 20), PADDING_MODES, (1, 2, 5)))
    sizes = itertools.product((1, 2, 9), (1, 2, 15, 33, *AROUND_A_RUN), (1, 3))
    for (h, w, coarse), (dtype, layout, c, padding_mode, count) in zip(sizes, choices):
        image = torch.randn(2, c, h, w, generator=rng).to(dtype).contiguous(memory_format=layout)
        keyframes = 3 * torch.randn(2, count, 2, -(-h // coarse), -(-w // coarse), generator=rng)
        keyframes[:, :, :, 0, 0] = 0
        taus, metric = torch.rand(2, 3, generator=rng), torch.randn(2, 1, h, w, generator=rng)
        result = results(image, keyframes, taus, metric, padding_mode)
        with vk.use_backend("reference"):
            wide = results(image.double(), keyframes.double(), taus.double(), metric.double(), padding_mode)
        for got, expected in zip(result, wide):
            assert_near(got, expected, slack=32)


@every_level
def test_every_instruction_set(level):
    run_at_level(level, __file__, "check_every_path()")


@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
def test_large_results_are_streamed_right(layout, rng):
    """Results from 4 MB on bypass the cache; the last rows and columns do too."""
    image = torch.randn(1, 16, 131, 160, generator=rng).contiguous(memory_format=layout)
    keyframes = 2 * torch.randn(1, 3, 2, 131, 160, generator=rng)
    taus = torch.linspace(0.1, 0.9, 26)
    result = vk.trajectory_warp(image, keyframes, taus), vk.sample_trajectory(keyframes, taus)
    with vk.use_backend("reference"):
        expected = vk.trajectory_warp(image, keyframes, taus), vk.sample_trajectory(keyframes, taus)
    for got, wanted in zip(result, expected):
        torch.testing.assert_close(got, wanted, rtol=2e-5, atol=2e-5)


def test_a_warp_along_trajectories_needs_no_memory_of_a_frame():
    """Beyond its inputs and its output less than a frame for each of its two threads."""
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "memory.py"
    command = [sys.executable, script, "trajectory_warp-24", "576p", "forward"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    frame = 3 * 576 * 1024 * 4 / 2**20
    assert json.loads(done.stdout)["ours"] < 2 * frame
