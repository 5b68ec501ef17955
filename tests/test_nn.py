"""The modules that own weights, and the shims with the signatures of torchvision and mmcv."""

import inspect
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from shared_files import SHARED, needs_shared

import vfi_kernels as vk
from vfi_kernels import compat

PACKS = (vk.nn.ModulatedDeformConv2dPack, vk.compat.mmcv.ModulatedDeformConv2dPack)
PLAIN = (vk.nn.ModulatedDeformConv2d, vk.compat.mmcv.ModulatedDeformConv2d)
MODULE = "(in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, {}bias=True)"


def signature(function):
    """Names and defaults."""
    parameters = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters.parameters.values() if p.name != "self"]
    return str(parameters.replace(parameters=bare, return_annotation=inspect.Signature.empty))


@pytest.fixture
def data(rng):
    """input, offset, mask, weight, bias of a 3x3 convolution in two conv groups and four offset groups."""
    shapes = ((2, 8, 6, 7), (2, 72, 6, 7), (2, 36, 6, 7), (4, 4, 3, 3), (4,))
    return [torch.randn(shape, generator=rng) for shape in shapes]


@pytest.mark.parametrize(
    "function, expected",
    [
        *((m, MODULE.format("deform_groups=1, ")) for m in (*PLAIN, *PACKS)),
        (vk.compat.torchvision.DeformConv2d, MODULE.format("")),
        (vk.compat.torchvision.DeformConv2d.forward, "(input, offset, mask=None)"),
        *((m.forward, "(x, offset, mask)") for m in PLAIN),
        *((m.forward, "(x)") for m in PACKS),
        (
            vk.compat.torchvision.deform_conv2d,
            "(input, offset, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), mask=None)",
        ),
        (
            vk.compat.mmcv.modulated_deform_conv2d,
            "(input, offset, mask, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, deform_groups=1)",
        ),
    ],
)
def test_signatures(function, expected):
    assert signature(function) == expected


def test_shims_are_the_op(data):
    x, offset, mask, weight, bias = data
    expected = vk.modulated_deform_conv2d(x, offset, mask, weight, bias, padding=1)
    assert torch.equal(vk.compat.torchvision.deform_conv2d(x, offset, weight, bias, 1, 1, 1, mask), expected)
    result = vk.compat.mmcv.modulated_deform_conv2d(x, offset, mask, weight, bias, 1, 1, 1, 2, 4)
    assert torch.equal(result, expected)
    options = {"stride": (2, 2), "padding": (1, 1)}
    offset = offset[..., :3, :4]
    expected = vk.modulated_deform_conv2d(x, offset, None, weight, **options)
    assert torch.equal(vk.compat.torchvision.deform_conv2d(x, offset, weight, **options), expected)


@pytest.mark.parametrize("make", [*PLAIN, vk.compat.torchvision.DeformConv2d])
def test_modules_are_the_op(make, data):
    x, offset, mask, weight, bias = data
    options = {"groups": 2, "padding": 1}
    if make in PLAIN:
        options["deform_groups"] = 4
    module = make(8, 4, 3, **options)
    assert {n: tuple(p.shape) for n, p in module.state_dict().items()} == {"weight": (4, 4, 3, 3), "bias": (4,)}
    module.load_state_dict({"weight": weight, "bias": bias})
    assert torch.equal(module(x, offset, mask), vk.modulated_deform_conv2d(x, offset, mask, weight, bias, padding=1))
    assert set(make(8, 4, (3, 1), bias=False).state_dict()) == {"weight"}
    with pytest.raises(RuntimeError, match="expected groups that divide the 8 in_channels, got 3"):
        make(8, 6, 3, groups=3)
    assert "8, 4, kernel_size=(3, 3)" in repr(module)


@pytest.mark.parametrize("make", [*PLAIN, *PACKS, vk.compat.torchvision.DeformConv2d])
def test_impossible_sizes_are_refused_at_once(make):
    for change, sentence in (
        ({"in_channels": 4.0}, "expected in_channels to be an integer from 0 up, got 4.0"),
        ({"out_channels": -4}, "expected out_channels to be an integer from 0 up, got -4"),
        ({"groups": None}, "expected groups to be an integer from 1 up, got None"),
        ({"groups": 0}, "expected groups to be an integer from 1 up, got 0"),
        ({"groups": 4}, "expected groups that divide the 6 out_channels, got 4"),
        ({"kernel_size": 0}, "expected kernel_size of one or two integers from 1 up, got 0"),
        ({"kernel_size": (3, 0)}, "expected kernel_size of one or two integers from 1 up, got (3, 0)"),
        ({"stride": 0}, "expected stride of one or two integers from 1 up, got 0"),
        ({"padding": (0, -1)}, "expected padding of one or two integers from 0 up, got (0, -1)"),
        ({"padding": "same"}, "expected padding of one or two integers from 0 up, got same"),
        ({"dilation": 0}, "expected dilation of one or two integers from 1 up, got 0"),
    ):
        with pytest.raises(RuntimeError) as caught:
            make(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3, **change})
        assert str(caught.value) == f"{make.__name__}: {sentence}"


def test_first_values():
    module = vk.nn.ModulatedDeformConv2d(16, 64, 3, groups=2)
    bound = (16 * 9) ** -0.5  # of all input channels, not of a group's
    assert 0.99 * bound < module.weight.abs().max() <= bound and (module.bias == 0).all()
    module = vk.compat.torchvision.DeformConv2d(16, 64, 3, groups=2)
    bound = (8 * 9) ** -0.5
    assert 0.99 * bound < module.weight.abs().max() <= bound
    assert 0.9 * bound < module.bias.abs().max() <= bound
    torch.manual_seed(4)
    layer = vk.compat.torchvision.DeformConv2d(16, 64, 3, groups=2)
    torch.manual_seed(4)
    expected = torch.nn.Conv2d(16, 64, 3, groups=2)  # draws the same numbers
    assert torch.equal(layer.weight, expected.weight) and torch.equal(layer.bias, expected.bias)


@pytest.mark.parametrize("make", PACKS)
def test_pack(make, rng):
    x = torch.randn(2, 8, 6, 7, generator=rng)
    module = make(8, 12, 3, stride=2, padding=2, dilation=2, groups=2, deform_groups=4)
    shapes = {"weight": (12, 4, 3, 3), "bias": (12,), "conv_offset.weight": (108, 8, 3, 3), "conv_offset.bias": (108,)}
    assert {n: tuple(p.shape) for n, p in module.state_dict().items()} == shapes
    start = F.conv2d(x, 0.5 * module.weight, module.bias, 2, 2, 2, 2)
    torch.testing.assert_close(module(x), start)
    with torch.no_grad():
        module.conv_offset.weight.normal_(0, 0.1, generator=rng)
        module.conv_offset.bias.normal_(generator=rng)
    moves, logits = module.conv_offset(x).split([72, 36], 1)
    expected = vk.modulated_deform_conv2d(
        x, moves, logits.sigmoid(), module.weight, module.bias, stride=2, padding=2, dilation=2
    )
    torch.testing.assert_close(module(x), expected)
    module(x).square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in module.parameters())


class Block(torch.nn.Module):
    """A pack as mmdet's ResNet has it: `conv2` beside other layers."""

    def __init__(self, make):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(4, 4, 1), make(4, 4, 3)


def early(state):
    """`state` with the names of before version 2 of mmcv's pack."""
    return {name.replace(".conv_offset.", "_offset."): value for name, value in state.items()}


@pytest.mark.parametrize("make", PACKS)
def test_checkpoints_with_the_early_names_of_mmcv(make):
    model = torch.nn.Sequential(torch.nn.Sequential(Block(make)), Block(make))
    state = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    old = early(model.state_dict())
    assert "0.0.conv2_offset.weight" in old and "1.conv2_offset.bias" in old
    saved = OrderedDict(old)
    saved._metadata = {name: {"version": 1} for name in model.state_dict()._metadata}
    for names in (old, saved):
        again = torch.nn.Sequential(torch.nn.Sequential(Block(make)), Block(make))
        again.load_state_dict(vk.compat.mmcv.with_current_names(names, again))
        assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
    assert "1.conv2_offset.bias" in saved
    current = model.state_dict()
    assert current._metadata["1.conv2"] == {"version": 2}
    assert list(vk.compat.mmcv.with_current_names(current, model)) == list(current)


def test_a_loader_that_shows_every_key_needs_no_renaming():
    """As those of mmcv and mmengine do."""
    model, again = (torch.nn.Sequential(Block(PACKS[1]), Block(PACKS[1])) for _ in range(2))
    old, missing = early({name: torch.randn_like(value) for name, value in model.state_dict().items()}), []
    expected = dict(old)

    def load(module, prefix=""):
        module._load_from_state_dict(old, prefix, {}, True, missing, [], [])
        for name, child in module.named_children():
            load(child, f"{prefix}{name}.")

    load(again)
    assert not missing
    assert all(torch.equal(value, expected[name]) for name, value in early(again.state_dict()).items())


def test_gradients_reach_an_initial_pack(rng):
    """Where every offset is 0, and taps lie outside too: training can start."""
    module = vk.compat.mmcv.ModulatedDeformConv2dPack(4, 4, 3, padding=1)
    module(torch.randn(1, 4, 5, 6, generator=rng)).square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in module.conv_offset.parameters())


def test_the_edge_differs():
    """At a coordinate of exactly -1 mmcv's derivative is 0, torchvision's that of the side inside the image."""
    x, weight, offset = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1), torch.zeros(1, 2, 2, 2)
    offset[0, 0, 0] = -1
    offset.requires_grad_()
    one = torch.ones(1, 1, 2, 2)
    calls = {
        "torchvision": lambda: vk.compat.torchvision.deform_conv2d(x, offset, weight, mask=one),
        "mmcv": lambda: vk.compat.mmcv.modulated_deform_conv2d(x, offset, one, weight),
        "torchvision, nn": lambda: vk.nn.ModulatedDeformConv2d(1, 1, 1)(x, offset, one),
        "mmcv, nn": lambda: vk.compat.mmcv.ModulatedDeformConv2d(1, 1, 1)(x, offset, one),
    }
    for name, call in calls.items():
        (grad,) = torch.autograd.grad(call().sum(), offset)
        assert (grad[0, 0, 0] == 0).all() == name.startswith("mmcv"), name


@needs_shared
def test_golden_through_the_torchvision_shim():
    with np.load(SHARED / "golden" / "deform_conv2d_small.npz") as file:
        data = {key: torch.from_numpy(file[key]) for key in file.files}
    names = ("input", "offset", "weight", "bias", "mask")
    leaves = {n: data[n].clone().requires_grad_() for n in names}
    place = (tuple(data[n].tolist()) for n in ("stride", "padding", "dilation"))
    out = vk.compat.torchvision.deform_conv2d(*(leaves[n] for n in names[:4]), *place, mask=leaves["mask"])
    torch.testing.assert_close(out, data["output"], rtol=0, atol=1e-10)
    for n, grad in zip(names, torch.autograd.grad(out, list(leaves.values()), data["grad_output"])):
        torch.testing.assert_close(grad, data[f"grad_{n}"], rtol=0, atol=1e-10, msg=n)


def test_they_compile_without_a_break(data):
    x, offset, mask, _, _ = data
    plain = vk.compat.torchvision.DeformConv2d(8, 4, 3, padding=1, groups=2)
    pack = vk.compat.mmcv.ModulatedDeformConv2dPack(8, 4, 3, padding=1, deform_groups=2)
    for module, arguments in ((plain, (x, offset, mask)), (pack, (x,))):
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*arguments), module(*arguments))
        parameters = list(module.parameters())
        grads, expected = (torch.autograd.grad(m(*arguments).sum(), parameters) for m in (compiled, module))
        torch.testing.assert_close(grads, expected)
    call = torch.compile(vk.compat.mmcv.modulated_deform_conv2d, fullgraph=True, backend="aot_eager")
    weight = torch.ones(4, 8, 3, 3)
    arguments = (x, offset, mask, weight, None, 1, 1, 1, 1, 4)
    torch.testing.assert_close(call(*arguments), vk.compat.mmcv.modulated_deform_conv2d(*arguments))


def test_autocast(rng):
    """Results as conv2d's; a pack's conv_offset is an ordinary layer."""
    x = torch.randn(1, 4, 5, 6, generator=rng)
    module = vk.nn.ModulatedDeformConv2dPack(4, 4, 3, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), module(x), rtol=2e-2, atol=2e-2)


def test_torchvisions_function_under_autocast():
    """In float32, in the dtype of the input: torchvision's rule."""
    x, offset, weight = torch.rand(1, 4, 6, 7), torch.randn(1, 18, 6, 7), torch.rand(4, 4, 3, 3)
    expected = compat.torchvision.deform_conv2d(x, offset, weight, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(compat.torchvision.deform_conv2d(x, offset, weight, padding=1), expected)
        half = compat.torchvision.deform_conv2d(x.bfloat16(), offset, weight, padding=1)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("kind", [compat.mmcv.ModulatedDeformConv2d, compat.mmcv.ModulatedDeformConv2dPack])
def test_mmcvs_init_weights(kind):
    class Mine(kind):
        def init_weights(self):
            super().init_weights()
            self.weight.data.fill_(3)

    assert (Mine(4, 4, 3).weight == 3).all()
    kind(4, 4, 3).init_weights()
