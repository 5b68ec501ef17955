"""What FlopCounterMode counts for the ops is what it counts for torch's matrix products and convolutions."""

import functools
import subprocess

import pytest
import torch
import torch.nn.functional as F
from processes import warm_python
from torch.utils.flop_counter import FlopCounterMode

import vfi_kernels as vk
from vfi_kernels._flops import FORMULAS
from vfi_kernels.testing import load_cases, map_tensors, tensors

CASES = load_cases()


def counted(call, arguments):
    """Forward and backward."""
    leaves = map_tensors(lambda t: t.detach().requires_grad_(), arguments)
    with FlopCounterMode(display=False) as forward:
        outs = tensors(call(*leaves))
    with FlopCounterMode(display=False) as backward:
        torch.autograd.grad(outs, tensors(leaves), [torch.ones_like(t) for t in outs])
    return forward.get_total_flops(), backward.get_total_flops()


def both(value):
    return (value, value) if isinstance(value, int) else value


def displaced(first, second, radius=4, kernel_size=1, stride=1, padding=0, dilation=1, **more):
    """All products of two maps: of each output the row of its window's channels, and a column of each displacement."""
    (v, h), (rows, columns) = both(radius), both(kernel_size)
    windows = F.unfold(first, kernel_size, dilation, padding, stride).permute(0, 2, 1)[:, :, None].flatten(0, 1)
    near = second.new_zeros(len(windows), first.shape[1] * rows * columns, (2 * v + 1) * (2 * h + 1))
    return windows @ (near + 0 * second.sum())


def adapted(x, weight, bias, a, b, a_bias, b_bias):
    out = F.linear(x, weight[0, 0], bias[0, 0, 0])
    for n in (0, 3):
        out = out + F.linear(F.linear(x, a[n, 0], a_bias[n, 0, 0]), b[n, 0], b_bias[n, 0, 0])
    return out


def convolved(x, offset, *others):
    """The same convolution, dense; the other arguments enter without products. Group by group: torch counts the
    gradient of a grouped convolution's weights as if all channels met."""
    *mask, weight = others
    groups = x.shape[1] // weight.shape[1]
    ways = {"padding": 2, "dilation": 2} if not mask else {"padding": 1}
    x = x + 0 * sum(t.sum() for t in (offset, *mask))
    return torch.cat([F.conv2d(*part, **ways) for part in zip(x.chunk(groups, 1), weight.chunk(groups))], 1)


def looked_up(first, second, positions, radius=4, levels=4):
    """As many products as displacements, at every level; positions enter without."""
    zero = 0 * positions.sum()
    return torch.stack([displaced(first + zero, second, radius) for _ in range(levels)])


def by_pixel(t):
    """(B, N, H, W) -> (B H W, N)"""
    return t.permute(0, 2, 3, 1).flatten(0, 2)


def collaborated(image, weights, *offsets, dilation=1):
    """What the taps of every pixel read, times their weights; offsets enter without."""
    rows = by_pixel(weights)
    read = rows.new_zeros(len(rows), image.shape[1], rows.shape[1]) + 0 * sum(t.sum() for t in (image, *offsets))
    return read @ rows[:, :, None]


def separated(image, vertical, horizontal):
    """The windows of every pixel times a row, then times a column."""
    rows, columns = by_pixel(horizontal), by_pixel(vertical)
    windows = rows.new_zeros(len(rows), image.shape[1] * columns.shape[1], rows.shape[1]) + 0 * image.sum()
    return (windows @ rows[:, :, None]).view(len(rows), image.shape[1], columns.shape[1]) @ columns[:, :, None]


EQUAL = {
    "adacof": collaborated, "correlation": displaced, "correlation_lookup": looked_up, "mixture_lora": adapted,
    "modulated_deform_conv2d": convolved, "sepconv": separated,
}  # fmt: skip
TAKE_OPTIONS = ("adacof", "correlation", "correlation_lookup")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_products_count_as_torch_counts_them(case, rng):
    arguments = case.make_inputs(2, 8, 16, 16, dtype=torch.float32, generator=rng)
    operations = counted(case.call, arguments)
    if case.op == "routed_conv2d":
        return check_routed(case, arguments, operations)
    if case.op not in EQUAL:
        assert operations == (0, 0)
        return None
    options = getattr(case.call, "keywords", {}) if case.op in TAKE_OPTIONS else {}
    if options.get("cost") == "l1":
        assert operations == (0, 0)  # differences are no products
        return None
    assert operations == counted(functools.partial(EQUAL[case.op], **options), arguments) and operations[0] > 0


def check_routed(case, arguments, operations):
    """As many patches of the dense convolution as are listed."""
    x, weight = arguments
    options = case.call.keywords
    patch, stride, transposed = options["patch"], options.get("stride", 1), options.get("transposed", False)
    conv = F.conv_transpose2d if transposed else F.conv2d
    padding = 1 if transposed else weight.shape[2] // 2
    dense = counted(lambda x, w: conv(x, w, stride=stride, padding=padding), arguments)
    patches = x.shape[0] * x.shape[2] * x.shape[3] // patch**2
    listed = -(-patches // 2) + 1
    assert operations == tuple(n * listed // patches for n in dense)


def test_only_gradients_that_are_wanted_count(rng):
    x, offset, mask, weight = CASES["modulated_deform_conv2d-4"].make_inputs(1, 8, 9, 9, dtype=torch.float32)
    out = vk.modulated_deform_conv2d(x, offset, mask, weight.requires_grad_(), padding=1)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    assert backward.get_total_flops() == 2 * weight.numel() * 81


def test_every_formula_is_of_an_op():
    assert all(hasattr(torch.ops.vfi_kernels, op) for op in FORMULAS)


def test_importing_the_library_imports_neither_the_counter_nor_triton():
    program = """
import sys, torch, vfi_kernels as vk
assert not {"torch.utils.flop_counter", "triton"} & set(sys.modules)
from torch.utils.flop_counter import FlopCounterMode
with FlopCounterMode(display=False) as counter:
    vk.correlation(torch.rand(1, 2, 3, 4), torch.rand(1, 2, 3, 4))
assert counter.get_total_flops() == 2 * 81 * 24
"""
    subprocess.run([*warm_python(), "-c", program], check=True)
