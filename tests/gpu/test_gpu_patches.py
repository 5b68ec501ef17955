"""Routing on a GPU: a list of fixed capacity is made, worked on and written back without a word from the host."""

import pytest
import torch
from compare import assert_near

import vfi_kernels as vk

PATCH, CAPACITY, SIZE = 16, 12, (2, 8, 64, 80)


def step(route, x, weight, bias, base):
    """What a network does with a route map, in place."""
    indices, count = vk.patch_indices(route, capacity=CAPACITY, return_count=True)
    vk.routed_conv2d_(x, weight, bias, indices, PATCH, base=base, padding_mode="image", activation="gelu")
    vk.patch_scatter_(vk.patch_gather(base, indices, PATCH) * 2, indices, base)
    return indices, count


def routes(active):
    """(B, rows, columns) with the first `active` cells of a fixed random order."""
    cells = SIZE[0] * (SIZE[2] // PATCH) * (SIZE[3] // PATCH)
    order = torch.randperm(cells, generator=torch.Generator().manual_seed(2))
    route = torch.zeros(cells, dtype=torch.bool)
    route[order[:active]] = True
    return route.view(SIZE[0], SIZE[2] // PATCH, SIZE[3] // PATCH).cuda()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@torch.no_grad()
def test_a_graph_is_replayed_with_another_number_of_active_patches(layout, engine):
    generator = torch.Generator().manual_seed(1)
    x, start = (torch.randn(SIZE, generator=generator).cuda().contiguous(memory_format=layout) for _ in range(2))
    weight, bias = torch.randn(8, 8, 3, 3, generator=generator).cuda() / 8, torch.randn(8, generator=generator).cuda()
    route, base = routes(3), start.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step(route, x, weight, bias, base)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        indices, count = step(route, x, weight, bias, base)
    for active in (5, 0, CAPACITY, CAPACITY + 7, 1):
        route.copy_(routes(active))
        base.copy_(start)
        graph.replay()
        torch.cuda.synchronize()
        wanted = route.nonzero().int()[:CAPACITY]
        assert count.item() == active and torch.equal(indices[: len(wanted)], wanted)
        assert (indices[len(wanted) :] == -1).all()
        expected = start.double()
        with vk.use_backend("reference"):
            step(route, x.double(), weight.double(), bias.double(), expected)
        assert_near(base, expected)


@torch.no_grad()
def test_without_a_capacity_the_list_has_as_many_rows_as_active_patches(engine):
    for active in (0, 1, 17, 40):
        route = routes(active)
        indices, count = vk.patch_indices(route, return_count=True)
        assert torch.equal(indices, route.nonzero().int()) and count.item() == active
