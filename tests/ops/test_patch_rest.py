"""What routed_conv2d and patch_scatter begin with: `base`, or zeros, where no patch is listed."""

import itertools

import pytest
import torch
from levels import every_level, run_at_level
from torch.fx.experimental.proxy_tensor import make_fx

import vfi_kernels as vk
from vfi_kernels.ops._shared.rest import rest_of

PATCH = 4
LARGE = (1, 17, 180, 368)


def inside(indices, base):
    """(B, 1, H, W) bool: what the list names."""
    grid = torch.zeros(base.shape[0], base.shape[2] // PATCH, base.shape[3] // PATCH, dtype=torch.bool)
    for b, row, column in indices.tolist():
        if min(b, row, column) >= 0 and b < grid.shape[0] and row < grid.shape[1] and column < grid.shape[2]:
            grid[b, row, column] = True
    return grid.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)[:, None]


def bases(dtype):
    """Small ones, and one that is written past the cache, in each layout; a slice of a larger one; nothing at all."""
    g = torch.Generator().manual_seed(3)
    for shape in ((2, 3, 8, 12), (1, 1, 4, 4), (3, 5, 12, 4), (1, 0, 4, 8), (0, 2, 4, 8), LARGE):
        if shape == LARGE and dtype != torch.float32:
            continue
        base = torch.randn(shape, generator=g).to(dtype)
        yield base
        yield base.contiguous(memory_format=torch.channels_last)
    yield torch.randn(2, 4, 8, 24, generator=g).to(dtype)[:, ::2, :, 3:15]


def lists(base):
    route = torch.rand(base.shape[0], base.shape[2] // PATCH, base.shape[3] // PATCH) < 0.4
    some = vk.patch_indices(route)
    yield some
    yield vk.patch_indices(route, capacity=len(some) + 3)
    yield vk.patch_indices(torch.ones_like(route))
    yield some[:0]
    yield torch.tensor([[99, 0, 0], [0, -1, 0]], dtype=torch.int32)


@every_level
def test_it_is_the_base_or_zeros_outside(level):
    run_at_level(level, __file__, "outside_as_before()")


def outside_as_before():
    dtypes = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    for base in itertools.chain.from_iterable(map(bases, dtypes)):
        for indices, zeros in itertools.product(lists(base), (False, True)):
            before = base.clone()
            made = rest_of(None if zeros else base, base, tuple(base.shape), indices, PATCH)
            assert made.shape == base.shape and made.dtype == base.dtype
            assert made.data_ptr() != base.data_ptr() or not base.numel()
            wanted = torch.zeros_like(base) if zeros else base
            kept = ~inside(indices, base).expand(base.shape)
            assert torch.equal(made[kept].view(torch.uint8), wanted[kept].view(torch.uint8))
            assert torch.equal(base, before)


@pytest.mark.parametrize("keep", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_block_keeps_its_base(keep, layout, rng):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.PReLU(3))
    block = vk.nn.RoutedBlock(module, 8)
    x, base = (torch.randn(2, 3, 16, 24, generator=rng).contiguous(memory_format=layout) for _ in range(2))
    before, listed = base.clone(), vk.patch_indices(torch.rand(2, 2, 3, generator=rng) < keep)
    with torch.no_grad():
        made = block(x, listed, base)
        assert torch.equal(base, before)
        assert torch.equal(made, block(x, listed, base, inplace=True))


def test_traced_graphs_copy_with_torch(rng):
    x, w, base = torch.randn(1, 3, 8, 8, generator=rng), torch.randn(3, 3, 3, 3), torch.randn(1, 3, 8, 8, generator=rng)
    listed = torch.tensor([[0, 1, 0]], dtype=torch.int32)
    with torch.no_grad():
        expected = vk.routed_conv2d(x, w, None, listed, 4, base=base)

        def call(x, w, listed, base):
            return vk.routed_conv2d(x, w, None, listed, 4, base=base)

        assert torch.equal(torch.compile(call, fullgraph=True, backend="aot_eager")(x, w, listed, base), expected)
        graph = make_fx(call)(x, w, listed, base)
        assert "patch_rest" not in graph.code and torch.equal(graph(x, w, listed, base), expected)
