"""compat.sbnet against loops over blocks."""

import pytest
import torch

from vfi_kernels.compat import sbnet

# bsize, boffset, bstride: blocks of SBNet's examples and of ours (halo 1, patches from the corner).
BLOCKS = [(4, 0, 4), (6, -1, 4), (6, 0, 4), (4, -2, 4), (4, 3, 4), (8, 1, 4), (5, 0, 5), (10, -3, 4), (12, 5, 4)]


def block_of(x, n, i, j, size, offset, stride):
    """Pixels of (N, H, W, ...) from (i, j) * stride + offset on; None where outside."""
    rows = [offset + i * stride + k for k in range(size)]
    columns = [offset + j * stride + k for k in range(size)]
    return [
        [x[n, r, c] if 0 <= r < x.shape[1] and 0 <= c < x.shape[2] else None for c in columns] for r in rows
    ]  # fmt: skip


@pytest.mark.parametrize("avgpool", [False, True])
@pytest.mark.parametrize(("size", "offset", "stride"), BLOCKS)
def test_reduce_mask(size, offset, stride, avgpool):
    mask = torch.rand(2, 13, 17, generator=torch.Generator().manual_seed(0))
    count, tol = (3, 4), 0.5 if avgpool else 0.98
    expected = []
    for n in range(2):
        for i in range(count[0]):
            for j in range(count[1]):
                inside = [v for row in block_of(mask, n, i, j, size, offset, stride) for v in row if v is not None]
                if inside and (sum(inside) / len(inside) if avgpool else max(inside)) > tol:
                    expected.append([n, i, j])
    block = {"bsize": (size, size), "boffset": (offset, offset), "bstride": (stride, stride)}
    bin_counts, indices = sbnet.reduce_mask(mask, count, tol=tol, avgpool=avgpool, **block)
    assert indices.tolist() == expected and bin_counts.tolist() == [len(expected)]
    assert 0 < len(expected) < 24
    assert torch.equal(sbnet.reduce_mask(mask[..., None], count, tol=tol, avgpool=avgpool, **block)[1], indices)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize(("size", "offset", "stride"), BLOCKS)
def test_sparse_gather(size, offset, stride, transpose):
    x = torch.rand(2, 13, 17, 3)
    indices = torch.tensor([[0, 0, 0], [0, 2, 3], [1, 1, 2], [1, 2, 0]])
    block = {"bsize": [size, size], "boffset": [offset, offset], "bstride": [stride, stride]}
    got = sbnet.sparse_gather(x, torch.tensor([4]), indices, transpose=transpose, **block)
    got = got.permute(0, 2, 3, 1) if transpose else got
    zero = torch.zeros(3)
    for k, (n, i, j) in enumerate(indices.tolist()):
        rows = block_of(x, n, i, j, size, offset, stride)
        expected = torch.stack([torch.stack([zero if v is None else v for v in row]) for row in rows])
        assert torch.equal(got[k], expected)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize(("size", "offset"), [(4, 0), (4, -2), (4, 3), (5, 7)])
def test_sparse_scatter(size, offset, transpose, add):
    x = torch.rand(2, 13, 17, 3)
    indices = torch.tensor([[0, 0, 0], [0, 2, 3], [1, 1, 2], [1, 2, 0]])
    blocks = torch.rand(4, size, size, 3)
    expected = x.clone()
    for k, (n, i, j) in enumerate(indices.tolist()):
        for a in range(size):
            for b in range(size):
                r, c = offset + i * size + a, offset + j * size + b
                if 0 <= r < 13 and 0 <= c < 17:
                    expected[n, r, c] = blocks[k, a, b] + (x[n, r, c] if add else 0)
    given = blocks.permute(0, 3, 1, 2) if transpose else blocks
    block = {"bsize": [size, size], "boffset": [offset, offset], "bstride": [size, size]}
    got = sbnet.sparse_scatter(given, torch.tensor([4]), indices, x, add=add, transpose=transpose, **block)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6 if add else 0)


def test_a_block_past_the_edge_reads_its_halo():
    x = torch.rand(1, 16, 20, 1)
    block = {"bsize": (6, 6), "boffset": (-1, -1), "bstride": (4, 4)}
    got = sbnet.sparse_gather(x, torch.tensor([1]), torch.tensor([[0, 4, 0]]), **block)
    assert torch.equal(got[0, 0, 1:], x[0, 15, :5]) and not got[0, 1:].any()


def test_gradients():
    x = torch.rand(1, 9, 9, 2, dtype=torch.float64, requires_grad=True)
    indices, block = torch.tensor([[0, 0, 1], [0, 1, 1]]), {"boffset": [1, 1], "bstride": [3, 3]}

    def through(x):
        blocks = sbnet.sparse_gather(x, torch.tensor([2]), indices, bsize=[5, 5], **block)
        inner = blocks[:, 1:-1, 1:-1] ** 2
        return sbnet.sparse_scatter(inner, torch.tensor([2]), indices, x, bsize=[3, 3], **block)

    assert torch.autograd.gradcheck(through, (x,))


def test_no_active_block_is_legal():
    counts, indices = sbnet.reduce_mask(torch.zeros(1, 8, 8), (2, 2), bsize=(4, 4), bstride=(4, 4))
    assert counts.tolist() == [0] and indices.shape == (0, 3)
    x = torch.rand(1, 8, 8, 3)
    blocks = sbnet.sparse_gather(x, counts, indices, bsize=(4, 4), bstride=(4, 4))
    assert blocks.shape == (0, 4, 4, 3)
    assert torch.equal(sbnet.sparse_scatter(blocks, counts, indices, x, bsize=(4, 4), bstride=(4, 4)), x)


# bsize, boffset, bstride: rectangles, gaps, overlaps by an odd number, and all of it.
OTHERS = [((4, 3), (0, 0), (4, 3)), ((2, 2), (1, 0), (4, 5)), ((5, 5), (0, -1), (4, 4)), ((7, 3), (-2, 4), (3, 5))]


@pytest.mark.parametrize(
    "names", [("bsize", "boffset", "bstride"), ("dynamic_bsize", "dynamic_boffset", "dynamic_bstride")]
)
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("place", OTHERS, ids=str)
def test_blocks_of_any_kind(place, add, transpose, names):
    """Forward, and the gradients, which are those of loops over pixels."""
    size, offset, stride = place
    x = torch.rand(2, 13, 17, 3, dtype=torch.float64, requires_grad=True)
    indices = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 2, 3], [1, 1, 2], [1, 2, 0]], dtype=torch.int32)
    new = torch.rand(5, *size, 3, dtype=torch.float64, requires_grad=True)
    blocks = [[[torch.zeros(3, dtype=torch.float64)] * size[1] for _ in range(size[0])] for _ in range(5)]
    expected = {(n, r, c): x[n, r, c] for n in range(2) for r in range(13) for c in range(17)}
    for k, (n, i, j) in enumerate(indices.tolist()):
        for a in range(size[0]):
            for b in range(size[1]):
                at = n, offset[0] + i * stride[0] + a, offset[1] + j * stride[1] + b
                if at in expected:
                    blocks[k][a][b] = x[at]
                    expected[at] = new[k, a, b] + (expected[at] if add else 0)
    want = torch.stack([torch.stack([torch.stack(row) for row in block]) for block in blocks])
    scattered = torch.stack(list(expected.values())).view(2, 13, 17, 3)
    options = {**dict(zip(names, place)), "transpose": transpose}
    got = sbnet.sparse_gather(x, torch.tensor([5]), indices, **options)
    turned = new.permute(0, 3, 1, 2) if transpose else new
    after = sbnet.sparse_scatter(turned, torch.tensor([5]), indices, x, add=add, atomic=add, **options)
    got = got.permute(0, 2, 3, 1) if transpose else got
    g = torch.rand(2, 13, 17, 3, dtype=torch.float64)
    for found, right in ((got, want), (after, scattered)):
        torch.testing.assert_close(found, right)
        cotangent = g if found is after else torch.rand(want.shape, dtype=torch.float64)
        gradients = [torch.autograd.grad(t, (x, new), cotangent, allow_unused=True) for t in (found, right)]
        torch.testing.assert_close(*gradients)
    base = x.detach().clone()
    assert sbnet.sparse_scatter_var(turned.detach(), torch.tensor([5]), indices, base, add=add, **options) is base
    torch.testing.assert_close(base, scattered.detach())


def test_wrong_blocks_get_one_sentence():
    x, indices, count = torch.rand(1, 8, 8, 3), torch.zeros(1, 3, dtype=torch.int32), torch.tensor([1])
    for sizes, sentence in (
        ({"bsize": (4, 4)}, r"expected bstride, \(rows, columns\), got none"),
        ({"bsize": 4, "bstride": (4, 4)}, "bsize of two integers, got 4"),
        ({"bsize": (4, 0), "bstride": (4, 4)}, "expected bsize to be an integer from 1 up, got 0"),
        ({"bsize": (4, 4), "dynamic_bsize": (4, 4), "bstride": (4, 4)}, "expected bsize or dynamic_bsize, got both"),
        ({"bsize": (4, 4), "bstride": (4, 4), "size": 3}, "expected the keywords bsize, .*, got size"),
    ):
        with pytest.raises(RuntimeError, match=sentence):
            sbnet.sparse_gather(x, count, indices, **sizes)


INDICES, COUNT = torch.zeros(2, 3, dtype=torch.int32), torch.tensor([2])
WRONG = {
    "indices of floats": ({"active_block_indices": INDICES.float()}, "active_block_indices of integers, got float32"),
    "indices of bools": ({"active_block_indices": INDICES.bool()}, "active_block_indices of integers, got bool"),
    "indices of two numbers": ({"active_block_indices": INDICES[:, :2]}, r".* of shape \(M, 3\), got \(2, 2\)"),
    "indices in a list": ({"active_block_indices": [[0, 0, 0]]}, "active_block_indices to be a tensor, got list"),
    "samples that are none": ({"active_block_indices": INDICES + 1}, r"samples from 0 to 0 .*, got \[1, 1\]"),
    "samples below 0": ({"active_block_indices": INDICES - 1}, r"samples from 0 to 0 .*, got \[-1, -1\]"),
    "a count of floats": ({"bin_counts": torch.tensor([2.0])}, "bin_counts of integers, got float32"),
    "counts": ({"bin_counts": torch.tensor([2, 2])}, r"bin_counts of one number, got \(2,\)"),
    "no count": ({"bin_counts": 2}, "bin_counts to be a tensor, got int"),
    "too large a count": ({"bin_counts": torch.tensor([3])}, "bin_counts of at most the 2 blocks .*, got 3"),
    "a count below 0": ({"bin_counts": torch.tensor([-1])}, "bin_counts of at most the 2 blocks .*, got -1"),
    "an image without samples": ({"x": torch.rand(8, 8, 3)}, r"x of shape \(N, H, W, C\), got \(8, 8, 3\)"),
    "no image": ({"x": None}, "x to be a tensor, got NoneType"),
}
KINDS = {"squares": ((4, 4), (4, 4)), "rectangles": ((4, 3), (4, 3)), "overlap": ((5, 5), (4, 4))}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_lists_get_one_sentence(name, kind):
    given, sentence = WRONG[name]
    arguments = {"bin_counts": COUNT, "active_block_indices": INDICES, "x": torch.rand(1, 8, 8, 3), **given}
    sizes = dict(zip(("bsize", "bstride"), KINDS[kind]))
    with pytest.raises(ValueError, match=rf"^sbnet\.sparse_gather: expected {sentence}$"):
        sbnet.sparse_gather(**arguments, **sizes)
    for op in (sbnet.sparse_scatter, sbnet.sparse_scatter_var):
        with pytest.raises(ValueError, match=rf"^sbnet\.sparse_scatter: expected {sentence}$"):
            op(torch.rand(2, *KINDS[kind][0], 3), **arguments, **sizes)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_blocks_to_scatter_get_one_sentence(kind):
    size, stride = KINDS[kind]
    x, sizes = torch.rand(1, 8, 8, 3), {"bsize": size, "bstride": stride}
    for shape in ((1, *size, 3), (2, *size, 1), (2, size[0] + 1, size[1], 3), (2, 3, *size), size):
        with pytest.raises(ValueError, match=r"^sbnet\.sparse_scatter: expected blocks of shape \(2, .*\), got \("):
            sbnet.sparse_scatter(torch.rand(shape), COUNT, INDICES, x, **sizes)
    with pytest.raises(ValueError, match="expected blocks of the dtype of x, float32, got float64"):
        sbnet.sparse_scatter(torch.rand(2, *size, 3).double(), COUNT, INDICES, x, **sizes)


@pytest.mark.parametrize(
    ("mask", "count", "sentence"),
    [
        (torch.rand(8, 8), (2, 2), r"mask of shape \(N, H, W\) or \(N, H, W, C\), got \(8, 8\)"),
        (torch.rand(1, 8, 8, 1, 1), (2, 2), r"mask of shape .*, got \(1, 8, 8, 1, 1\)"),
        ([[1.0]], (2, 2), "mask to be a tensor, got list"),
        (torch.rand(1, 8, 8), 2, "block_count of two integers, got 2"),
        (torch.rand(1, 8, 8), (2, 2, 2), r"block_count of two integers, got \(2, 2, 2\)"),
        (torch.rand(1, 8, 8), (2, 1.5), r"block_count to be an integer from 0 up, got 1\.5"),
        (torch.rand(1, 8, 8), (2, -1), "block_count to be an integer from 0 up, got -1"),
    ],
)
def test_wrong_masks_get_one_sentence(mask, count, sentence):
    with pytest.raises(ValueError, match=rf"^sbnet\.reduce_mask: expected {sentence}$"):
        sbnet.reduce_mask(mask, count, bsize=(4, 4), bstride=(4, 4))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
@pytest.mark.parametrize("avgpool", [False, True])
def test_masks_of_whole_numbers(dtype, avgpool):
    mask = torch.rand(2, 9, 9) > 0.6
    options = {"bsize": (4, 4), "boffset": (-1, -1), "bstride": (4, 4), "avgpool": avgpool}
    expected = sbnet.reduce_mask(mask.float(), (3, 3), **options)
    assert torch.equal(sbnet.reduce_mask(mask.to(dtype), (3, 3), **options)[1], expected[1])
