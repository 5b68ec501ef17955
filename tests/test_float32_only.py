"""The reference on a device without float64, as Apple's GPUs are: every case in float32 makes no float64, forward and
backward. A mode that sees every operator of torch stands in for such a device."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vfi_kernels import backends
from vfi_kernels.testing import generic_cases, map_tensors, tensors

CASES = generic_cases()
WIDE = (torch.float64, torch.complex128)


class NoFloat64(TorchDispatchMode):
    """Raises where an operator returns float64. Inside it our ops are their references, which the mode sees, too."""

    def __init__(self):
        super().__init__()
        self.ours = set()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator._schema.name.removeprefix("vfi_kernels::")
        if name in backends.ops():
            self.ours.add(name)
            with self:
                return backends._references[name](*args, **(kwargs or {}))
        results = operator(*args, **(kwargs or {}))
        wide = [t for t in tensors(results) if t.dtype in WIDE]
        assert not wide, f"{operator} makes {wide[0].dtype} of shape {tuple(wide[0].shape)}"
        return results


def run(case, shape):
    """Forward and the gradients of everything that has one; the ops that were called."""
    arguments = case.make_inputs(*shape, dtype=torch.float32, generator=torch.Generator().manual_seed(3))
    leaves = map_tensors(lambda t: t.detach().requires_grad_(t.is_floating_point()), arguments)
    moving = [t for t in tensors(leaves) if t.requires_grad]
    with NoFloat64() as mode:
        outs = [t for t in tensors(case.call(*leaves)) if t.requires_grad]
        torch.autograd.grad(outs, moving, [torch.ones_like(t) for t in outs], allow_unused=True)
    return mode.ours


@pytest.mark.parametrize("name", CASES)
def test_no_float64_is_made(name):
    case = CASES[name]
    called = set()
    for shape in case.small[:2]:  # one pixel, odd sizes: a dtype does not depend on more
        called |= run(case, shape)
    assert case.op in called and f"{case.op}_grad" in called


def test_the_mode_sees_float64():
    with pytest.raises(AssertionError, match=r"makes torch\.float64"), NoFloat64():
        torch.ones(2).double()
