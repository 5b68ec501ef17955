"""The grids of CUDA launches: every op, more rows than a grid has blocks; and what the tensor cores see of a NaN."""

import pytest
import torch
import vfi_kernels_testing as native
from emulation import emulated_cuda, emulated_op
from op_calls import CASES, make

from vfi_kernels.testing import map_tensors, tensors


@pytest.mark.nightly
def test_deterministic_splat_of_more_rows_than_a_grid_has():
    image, flow = torch.randn(1, 1, 8 * 65535 + 9, 1), torch.zeros(1, 2, 8 * 65535 + 9, 1)
    (out,), _, _ = emulated_op("splat")([image], flow, None, "sum", "zero", False, True)
    assert torch.equal(out, image)


def tall(case):
    """Arguments with more rows than a grid has blocks, of 64 rows (scatter_kernel) or 8 each: views of one row, and of
    one pixel where there are no patches."""
    small = make(case, (1, 1, 4, 4))
    patches = "patch" in case.op or case.op in ("routed_conv2d", "mixture_lora")  # or features
    elements = sum(t.numel() for t in tensors(small)) + sum(t.numel() for t in tensors(case.call(*small)))
    rows = 64 * 65535 + 64 if elements <= 16 * 16 and not patches else 8 * 65535 + 12

    def stretched(t):
        padding = [n - 4 for n in t.shape[-2:]]
        own = t is tensors(small)[0] and not patches  # an image, which may come padded
        if t.dim() < 4 or min(padding) < 0 or (any(padding) and not own):
            return t
        down, across = padding
        return t[..., :1, : 4 if patches else 1 + across].expand(*t.shape[:-2], rows + down, -1)

    return map_tensors(stretched, small)


@pytest.fixture
def idle():
    """Launches are checked and counted, but no thread runs."""
    native.set_idle(True)
    yield
    native.set_idle(False)


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", [False, True], ids=["atomic", "deterministic"])
@pytest.mark.parametrize("case", list({c.op: c for c in CASES.values()}.values()), ids=lambda c: c.op)
def test_every_launch_fits_a_grid(case, deterministic, idle):
    torch.use_deterministic_algorithms(deterministic)
    try:
        with emulated_cuda():
            before = native.launches()
            arguments = map_tensors(lambda t: t.requires_grad_(t.is_floating_point()), tall(case))
            outs = [o for o in tensors(case.call(*arguments)) if o.requires_grad]
            leaves = [t for t in tensors(arguments) if t.requires_grad]
            torch.autograd.grad(outs, leaves, [torch.zeros_like(o) for o in outs], allow_unused=True)
            assert native.launches() >= before + 2
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_launch_that_does_not_fit_is_refused():
    with pytest.raises(RuntimeError, match="expected at most 2147483647 x 65535 x 65535 blocks, got 1 x 65536 x 1"):
        native.check_grid(1, 65536, 1)


@pytest.mark.parametrize("payload", [0x1, 0x1FFF, 0x2000, 0x400000, 0x7FFFFF])
@pytest.mark.parametrize("sign", [0, 0x80000000])
def test_a_nan_stays_one_in_tf32(payload, sign):
    """The tensor cores do not look at the low 13 bits."""
    seen = native.round_to_tf32(sign | 0x7F800000 | payload) & 0xFFFFE000
    assert seen & 0x7F800000 == 0x7F800000 and seen & 0x7FFFFF
    assert native.round_to_tf32(sign | 0x7F800000) == sign | 0x7F800000  # infinity
