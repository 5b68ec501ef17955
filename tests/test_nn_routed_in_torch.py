"""The modules that compute active patches only, under torch.compile, vmap and autocast."""

import pytest
import torch
from routed_block import PATCH, a_block, a_route, an_image, spread  # noqa: F401
from torch import nn

import vfi_kernels as vk


def test_capacity_in_one_graph(block, x, rng):
    routed = vk.nn.RoutedBlock(block, PATCH, halo=16, chunk=4)

    def run(route, x):
        return routed(
            x, vk.patch_indices(route, capacity=8), torch.zeros(2, 2, *x.shape[2:], dtype=x.dtype), inplace=True
        )

    with torch.no_grad():
        compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
        for seed in range(2):
            route = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(seed)) < 0.3
            torch.testing.assert_close(compiled(route, x), torch.where(spread(route), block(x), 0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("halo", [0, 16])
def test_a_list_of_unknown_length_in_one_graph(block, x, halo):
    routed = vk.nn.RoutedBlock(block, PATCH, halo=halo, chunk=4)
    compiled = torch.compile(routed, fullgraph=True, backend="aot_eager")
    for seed in range(2):
        route = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(seed)) < 0.5
        torch.testing.assert_close(compiled(x, route), routed(x, route), rtol=0, atol=1e-12)


@pytest.mark.nightly
def test_a_capacity_without_waiting_in_one_graph_of_inductor(x):
    routed = vk.nn.RoutedBlock(nn.Conv2d(3, 2, 3, padding=1).double(), PATCH, halo=2)
    route = torch.zeros(2, 3, 4, dtype=torch.bool)
    route[:, 0, 1] = True
    with torch.no_grad():
        compiled = torch.compile(lambda x, route: routed(x, vk.patch_indices(route, capacity=5)), fullgraph=True)
        torch.testing.assert_close(compiled(x, route), routed(x, route), rtol=0, atol=1e-12)


def test_vmap_over_images_and_lists(block, x, route):
    routed = vk.nn.RoutedBlock(block, PATCH, halo=16, chunk=5)
    images, listed = torch.stack([x, 2 * x]), torch.stack([vk.patch_indices(r, capacity=24) for r in (route, ~route)])
    with torch.no_grad():
        expected = torch.stack([routed(image, indices) for image, indices in zip(images, listed)])
        torch.testing.assert_close(torch.vmap(routed)(images, listed), expected, rtol=0, atol=1e-12)


def test_one_graph_for_images_of_any_size(block):
    """Sizes are symbols there, of which no sentence can be made."""
    routed = vk.nn.RoutedBlock(block, PATCH, halo=16)
    compiled = torch.compile(routed, fullgraph=True, backend="aot_eager", dynamic=True)
    for rows in (2, 3):
        x, base = torch.randn(1, 3, 16 * rows, 48).double(), torch.randn(1, 2, 16 * rows, 48).double()
        listed = vk.patch_indices(torch.ones(1, rows, 3, dtype=torch.bool), capacity=7)
        torch.testing.assert_close(compiled(x, listed, base), routed(x, listed, base), rtol=0, atol=1e-12)


def test_blocks_run_under_autocast(block, x, route):
    routed = vk.nn.RoutedBlock(block.float(), PATCH, halo=16)
    base = torch.zeros(2, 2, *x.shape[2:])
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert routed(x.float(), route).dtype == torch.bfloat16
        assert routed(x.float(), route, base).dtype == torch.float32
