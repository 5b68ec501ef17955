"""What holds for patch_indices, patch_gather and patch_scatter alone."""

import pytest
import torch
import torch._dynamo.testing
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vfi_kernels as vk

OPS = torch.ops.vfi_kernels
LENIENT = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def random_route(b, rows, columns, seed, keep=0.5):
    return torch.rand(b, rows, columns, generator=torch.Generator().manual_seed(seed)) < keep


@LENIENT
@given(st.integers(0, 3), st.integers(0, 5), st.integers(0, 5), st.integers(0, 30), st.integers(0, 99))
def test_indices_are_the_first_active_cells_in_order(backend, b, rows, columns, capacity, seed):
    route = random_route(b, rows, columns, seed)
    expected = route.nonzero().int()
    indices, count = vk.patch_indices(route, return_count=True)
    assert torch.equal(indices, expected) and count.item() == len(expected) and count.dtype == torch.int64
    indices, count = vk.patch_indices(route, capacity=capacity, return_count=True)
    kept = min(capacity, len(expected))
    assert indices.shape == (capacity, 3) and indices.dtype == torch.int32
    assert torch.equal(indices[:kept], expected[:kept]) and (indices[kept:] == -1).all()
    assert count.item() == len(expected) and count.shape == ()


def test_indices_of_a_route_that_is_not_contiguous(backend):
    route = random_route(2, 6, 8, 1)[:, ::2, 1::3].transpose(1, 2)
    assert torch.equal(vk.patch_indices(route), route.nonzero().int())


@pytest.mark.parametrize("halo", [0, 1, 3])
def test_gather_cuts_out_of_the_padded_image(backend, halo, rng):
    x = torch.randn(2, 3, 8, 12, generator=rng)
    indices = vk.patch_indices(random_route(2, 2, 3, 5))
    padded = F.pad(x, [halo] * 4)
    out = vk.patch_gather(x, indices, 4, halo=halo)
    for tile, (b, row, column) in zip(out, indices.tolist()):
        y, left = 4 * row, 4 * column
        assert torch.equal(tile, padded[b, :, y : y + 4 + 2 * halo, left : left + 4 + 2 * halo])


@pytest.mark.parametrize("bad", [(-1, -1, -1), (2, 0, 0), (0, 2, 0), (0, 0, 3), (0, -1, 0), (2**31 - 1, 0, 0)], ids=str)
def test_rows_that_name_no_patch_are_ignored(backend, bad, rng):
    x, base = torch.randn(2, 2, 3, 8, 12, generator=rng)
    indices = torch.tensor([(0, 1, 1), bad], dtype=torch.int32)
    tiles = vk.patch_gather(x, indices, 4)
    assert torch.equal(tiles[0], x[0, :, 4:, 4:8]) and (tiles[1] == 0).all()
    out = vk.patch_scatter(torch.full_like(tiles, torch.nan).index_copy(0, torch.tensor([0]), tiles[:1]), indices, base)
    expected = base.clone()
    expected[0, :, 4:, 4:8] = x[0, :, 4:, 4:8]
    assert torch.equal(out, expected)


@LENIENT
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 6), st.integers(0, 99), st.booleans())
def test_scatter_reverses_gather(backend, c, rows, columns, patch, seed, mixed):
    """Also between layouts; what is not listed keeps the base."""
    x, base = torch.randn(2, 2, c, rows * patch, columns * patch, generator=torch.Generator().manual_seed(seed))
    route = random_route(2, rows, columns, seed)
    layout = torch.channels_last if mixed else torch.preserve_format
    tiles = vk.patch_gather(x, vk.patch_indices(route), patch, memory_format=layout)
    listed = route.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, None]
    expected = torch.where(listed, x, base)
    assert torch.equal(vk.patch_scatter(tiles, vk.patch_indices(route), base), expected)
    target = base.contiguous(memory_format=torch.channels_last) if mixed else base.clone()
    assert vk.patch_scatter_(tiles, vk.patch_indices(route), target) is target
    assert torch.equal(target, expected)


def test_scatter_writes_into_a_view(backend, rng):
    """In place means in the caller's memory, whatever its strides."""
    wide = torch.zeros(1, 4, 8, 24)
    patches = torch.randn(1, 2, 4, 4, generator=rng)
    vk.patch_scatter_(patches, torch.tensor([[0, 1, 0]], dtype=torch.int32), wide[:, ::2, :, 1::3])
    assert torch.equal(wide[0, ::2, 4:, 1:13:3], patches[0])
    assert wide.count_nonzero() == patches.count_nonzero()


def test_no_patches(backend, rng):
    x = torch.randn(2, 3, 8, 12, generator=rng).requires_grad_()
    none = torch.zeros(0, 3, dtype=torch.int32)
    tiles = vk.patch_gather(x, none, 4, halo=1)
    assert tiles.shape == (0, 3, 6, 6)
    out = vk.patch_scatter(vk.patch_gather(x, none, 4), none, x)
    assert torch.equal(out, x)
    (grad,) = torch.autograd.grad(out.sum() + tiles.sum(), x)
    assert (grad == 1).all()


def test_the_halos_gradient_counts_the_patches_that_hold_a_pixel(backend):
    x = torch.zeros(1, 1, 6, 6, requires_grad=True)
    indices = vk.patch_indices(torch.tensor([[[True, True], [False, True]]]))
    vk.patch_gather(x, indices, 3, halo=1).sum().backward()
    expected = [[1, 1, 2, 2, 1, 1], [1, 1, 2, 2, 1, 1], [1, 1, 3, 3, 2, 2], [1, 1, 3, 3, 2, 2], [0, 0, 1, 1, 1, 1],
                [0, 0, 1, 1, 1, 1]]  # fmt: skip
    assert torch.equal(x.grad[0, 0], torch.tensor(expected, dtype=torch.float32))


def test_a_list_that_depends_on_data_compiles():
    def smooth(route, x):
        indices = vk.patch_indices(route)
        tiles = vk.patch_gather(x, indices, 4, halo=1)
        return vk.patch_scatter(F.avg_pool2d(tiles, 3, 1), indices, x)

    compiled = torch.compile(smooth, fullgraph=True, backend="aot_eager")
    x = torch.randn(1, 3, 8, 12)
    for seed in range(3):
        route = random_route(1, 2, 3, seed)
        torch.testing.assert_close(compiled(route, x), smooth(route, x))


def test_a_capacity_keeps_shapes_static():
    """One graph, with no guard on how many patches are active."""

    def smooth(route, x):
        indices = vk.patch_indices(route, capacity=4)
        return vk.patch_scatter_(F.avg_pool2d(vk.patch_gather(x, indices, 4, halo=1), 3, 1), indices, x.clone())

    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(smooth, fullgraph=True, backend=counter)
    x = torch.randn(1, 3, 8, 12)
    for keep in (0, 0.3, 1):
        route = random_route(1, 2, 3, 7, keep)
        torch.testing.assert_close(compiled(route, x), smooth(route, x))
    assert counter.frame_count == 1


IMAGE, LIST = torch.zeros(2, 3, 8, 12), torch.zeros(1, 3, dtype=torch.int32)
ROUTE = torch.ones(1, 2, 3, dtype=torch.bool)
WRONG = [
    (lambda: vk.patch_indices(torch.zeros(2, 3)), r"route of shape \(B, rows, columns\), got \(2, 3\)"),
    (lambda: vk.patch_indices(torch.zeros(1, 2, 3)), "route of dtype bool, got float32"),
    (lambda: vk.patch_indices(torch.zeros(1, 2, 3).bool(), capacity=-1), "capacity"),
    (lambda: vk.patch_gather(IMAGE[0], LIST, 4), r"input of shape \(B, C, H, W\), got \(3, 8, 12\)"),
    (lambda: vk.patch_gather(IMAGE.int(), LIST, 4), "input of dtype .*, got int32"),
    (lambda: vk.patch_gather(IMAGE, LIST.long(), 4), "indices of dtype int32, got int64"),
    (lambda: vk.patch_gather(IMAGE, LIST[:, :2], 4), r"indices of shape \(P, 3\), got \(1, 2\)"),
    (lambda: vk.patch_gather(IMAGE, LIST, 5), r"multiples of the patch of 5 pixels, got \(2, 3, 8, 12\)"),
    (lambda: vk.patch_gather(IMAGE, LIST, 0), "patch"),
    (lambda: vk.patch_gather(IMAGE, LIST, 4, halo=-1), "halo"),
    (lambda: vk.patch_gather(IMAGE, LIST, 4, memory_format=torch.channels_last_3d), "memory_format"),
    (lambda: vk.patch_scatter(IMAGE[:1, :, :4, :4], LIST, IMAGE[0]), r"base of shape \(B, C, H, W\)"),
    (lambda: vk.patch_scatter(IMAGE[:1, :2, :4, :4], LIST, IMAGE), r"\(P, 3, patch, patch\) for a base of 3 channels"),
    (lambda: vk.patch_scatter(IMAGE[:1, :, :4, :4].double(), LIST, IMAGE), "patches of dtype float32 as base has"),
    (lambda: vk.patch_scatter(IMAGE[:, :, :4, :4], LIST, IMAGE), r"indices of shape \(2, 3\) for 2 patches"),
    (lambda: vk.patch_scatter_(IMAGE[:1, :, :5, :5].clone(), LIST, IMAGE), "multiples of the patch of 5 pixels"),
    (
        lambda: vk.patch_scatter_(IMAGE[:1, :, :4, :4], LIST, IMAGE),
        "memory of its own, got one in the memory of patches",
    ),
    (
        lambda: vk.patch_scatter_(torch.zeros(1, 3, 4, 4), LIST, IMAGE[:1].expand(2, -1, -1, -1)),
        r"base whose elements do not share memory, got strides \(0, 96, 12, 1\)",
    ),
    (lambda: vk.patch_gather(IMAGE, LIST, 2**70), "patch to be an integer below 2"),
    (lambda: vk.patch_indices(ROUTE, capacity=2**60), "capacity to be an integer below 2"),
    (lambda: vk.patch_indices(ROUTE.to_sparse()), "a dense tensor for route, got one of layout torch.sparse_coo"),
    (lambda: vk.patch_indices(ROUTE.to("meta")), "a capacity for a route on the meta device"),
]


@pytest.mark.parametrize("call, message", WRONG, ids=range(len(WRONG)))
def test_wrong_arguments_get_one_sentence(backend, call, message):
    with pytest.raises(RuntimeError, match=f"patch_[a-z_]+: expected .*{message}") as error:
        call()
    assert "\n" not in str(error.value)


def test_writing_in_place_refuses_to_drop_a_gradient(backend):
    patches = torch.zeros(1, 3, 4, 4, requires_grad=True)
    with pytest.raises(
        RuntimeError, match=r"patch_scatter_: expected tensors without requires_grad.* use patch_scatter"
    ):
        vk.patch_scatter_(patches, LIST, IMAGE.clone())
    with torch.no_grad():
        vk.patch_scatter_(patches, LIST, IMAGE.clone())


def test_memory_that_is_not_there_is_said_in_one_sentence():
    with pytest.raises(
        RuntimeError, match=r"^vfi_kernels: expected memory for a tensor of shape .*, got none from torch$"
    ):
        vk.patch_gather(IMAGE, LIST, 4, halo=2**24)


def test_writing_in_place_is_seen_by_autograd():
    """A tensor that backward needs and that was overwritten raises, as with torch's own ops; also in inference mode."""
    leaf = torch.randn(2, 3, 8, 12, requires_grad=True)
    saved = leaf.exp()
    loss = saved.sum()
    with torch.no_grad():
        vk.patch_scatter_(torch.ones(1, 3, 4, 4), LIST, saved)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    with torch.inference_mode():
        assert (vk.patch_scatter_(torch.ones(1, 3, 4, 4), LIST, torch.zeros_like(leaf))[0, :, :4, :4] == 1).all()


@pytest.mark.parametrize("mapped", ["lists", "images", "both"])
def test_vmap_over_lists(mapped, rng):
    lists = torch.stack([vk.patch_indices(random_route(2, 2, 3, seed), capacity=5) for seed in range(3)])
    images, tiles = torch.randn(3, 2, 3, 8, 12, generator=rng), torch.randn(5, 3, 4, 4, generator=rng)
    dims = {"lists": (0, None), "images": (None, 0), "both": (0, 0)}[mapped]
    chosen = [lists if dims[0] == 0 else lists[0], images if dims[1] == 0 else images[0]]
    calls = {
        "gather": lambda listed, image: vk.patch_gather(image, listed, 4, halo=1),
        "scatter": lambda listed, image: vk.patch_scatter(tiles, listed, image),
        "scatter_": lambda listed, image: vk.patch_scatter_(tiles, listed, image),
    }
    for name, call in calls.items():
        if name == "scatter_" and mapped == "lists":
            with pytest.raises(RuntimeError, match="patch_scatter_: expected under vmap a base that is mapped too"):
                torch.vmap(call, dims)(*chosen)
            continue
        each = [call(*(t[n] if d == 0 else t for t, d in zip((c.clone() for c in chosen), dims))) for n in range(3)]
        assert torch.equal(torch.vmap(call, dims)(*chosen), torch.stack(each)), name


def test_in_place_op_is_registered_as_one():
    patches, base = torch.randn(1, 3, 4, 4), torch.randn(2, 3, 8, 12)
    torch.library.opcheck(OPS.patch_scatter_.default, (patches, LIST, base))
    torch.library.opcheck(OPS.patch_indices.default, (random_route(2, 3, 4, 1), None))
    torch.library.opcheck(OPS.patch_indices.default, (random_route(2, 3, 4, 1), 5))
