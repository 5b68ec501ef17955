"""Blocks of real networks with a halo equal the dense ones; blocks that look further than the halo are refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vfi_kernels as vk

PATCH, C = 8, 8
EVERY = torch.ones(1, 3, 3, dtype=torch.bool)


class Block(nn.Module):
    """Some layers, and what is done with them."""

    def __init__(self, call, *layers):
        super().__init__()
        self.call, self.layers = call, nn.ModuleList(layers)

    def forward(self, x):
        return self.call(x, *self.layers)


def conv(c=C, out=C, k=3, **options):
    return nn.Conv2d(c, out, k, padding=k // 2, **options)


def last(x):
    return x.permute(0, 2, 3, 1)


def first(x):
    return x.permute(0, 3, 1, 2)


def shuffle(x):
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def channel_norm(x):
    return (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, unbiased=False, keepdim=True) + 1e-5)


def written(y, x):
    y = y * 2
    y[:, 1:3] = x[:, :2]
    y[:, 0] = 0.5
    y[:, 4:6] = torch.ones(2, 1, 1)
    return y


def gate(x):
    a, b = x.chunk(2, dim=1)
    return a * torch.sigmoid(b)


@torch.no_grad()
def grown(block):
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return block.eval()


LOCAL = {
    "residual": lambda: Block(lambda x, a, b: x + 0.2 * b(F.relu(a(x), inplace=True)), conv(), conv()),
    "convnext": lambda: Block(
        lambda x, a, n, b, c: x + first(c(F.gelu(b(n(last(a(x))))))),
        conv(k=5, groups=C), nn.LayerNorm(C), nn.Linear(C, 16), nn.Linear(16, C),
    ),
    "depthwise separable": lambda: nn.Sequential(conv(groups=C), nn.BatchNorm2d(C), nn.ReLU6(), conv(k=1)),
    "inverted residual": lambda: Block(
        lambda x, a: x + a(x), nn.Sequential(conv(C, 16, 1), nn.Hardswish(), conv(16, 16, groups=16), conv(16, C, 1))
    ),
    "dense": lambda: Block(
        lambda x, a, b, c: c(torch.cat([x, y := F.leaky_relu(a(x), 0.1), b(torch.cat([x, y], 1))], dim=1)),
        conv(), conv(16, C), conv(24, C, 1),
    ),
    "gated": lambda: Block(lambda x, a: gate(a(x)), conv(C, 16)),
    "glu": lambda: Block(lambda x, a: F.glu(a(x), 1), conv(C, 16)),
    "prelu": lambda: nn.Sequential(conv(), nn.PReLU(C), conv(), nn.PReLU()),
    "attention of a pixel": lambda: Block(lambda x, a: x * a(x).mean(1, keepdim=True).sigmoid(), conv()),
    "shuffle": lambda: Block(lambda x, a: a(shuffle(x)), conv(groups=2)),
    "norm of channels": lambda: Block(lambda x, a: a(channel_norm(x)), conv()),
    "norm of channels last": lambda: Block(
        lambda x, a: a(first(F.layer_norm(last(x), x.shape[1:2]))), conv()
    ),
    "scale": lambda: Block(lambda x, a: a(x) * torch.linspace(0, 1, C).view(1, C, 1, 1) + x[:, :1], conv()),
    "product": lambda: Block(lambda x, a: first(last(a(x)) @ torch.eye(C).flip(0)), conv()),
    "dropout": lambda: nn.Sequential(conv(), nn.Dropout(0.5), nn.Dropout2d(0.5)),
    "in place": lambda: Block(lambda x, a: a(x).mul_(2).add_(x).clamp_(-1, 1), conv()),
    "masks": lambda: Block(lambda x, a: torch.where(x > 0, a(x), x.masked_fill(x < -1, 0)), conv()),
    "parts": lambda: Block(
        lambda x, a: torch.stack([p.squeeze(1) for p in a(x).split(1, dim=1)], 1).unsqueeze(1)[:, 0], conv()
    ),
    "written": lambda: Block(lambda x, a: written(a(x), x), conv()),
    "expanded": lambda: Block(
        lambda x, a: a(x)[:, :1].expand(-1, C, -1, -1) + x[:, None].expand(-1, 2, -1, -1, -1)[:, 1], conv()
    ),
    "median": lambda: Block(lambda x, a: a(x) - x.median(1, keepdim=True).values, conv()),
    "unit vectors": lambda: Block(lambda x, a: a(x / torch.linalg.vector_norm(x, dim=1, keepdim=True)), conv()),
    "moved": lambda: Block(lambda x, a, b: b(a(x).movedim(1, -1)).moveaxis((3,), (1,)), conv(), nn.Linear(C, C)),
    "joined by axis": lambda: Block(lambda x, a, b: b(torch.cat([x, a(x)], axis=1)), conv(), conv(16)),
    "evaluated noise": lambda: nn.Sequential(conv(), nn.RReLU(), nn.FeatureAlphaDropout()),
    "up and down": lambda: nn.Sequential(conv(stride=2), nn.Upsample(scale_factor=2), nn.AvgPool2d(2),
                                         nn.ConvTranspose2d(C, C, 4, 2, 1)),
}  # fmt: skip


@pytest.fixture
def x():
    torch.manual_seed(5)
    return torch.randn(1, C, 3 * PATCH, 3 * PATCH)


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("recording", [False, True])
def test_blocks_of_real_networks_equal_the_dense_ones(name, recording, x):
    block = grown(LOCAL[name]())
    with torch.set_grad_enabled(recording):
        result = vk.nn.RoutedBlock(block, PATCH, halo=8, chunk=4)(x, EVERY)
        torch.testing.assert_close(result, block(x), rtol=0, atol=2e-5)


class Subclass(torch.Tensor):
    pass


class Squared(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x / x.mean((2, 3), keepdim=True)

    @staticmethod
    def backward(ctx, grad):
        return grad


@torch.jit.script
def scripted(x):
    return x * x.mean()


SIDE = PATCH + 4
kept = []


def stale(x):
    kept.append(x * 2)
    return x + kept[0]


FURTHER = {
    "squeeze and excitation by view": lambda x: x * x.view(*x.shape[:2], -1).mean(2)[:, :, None, None],
    "by flatten": lambda x: x * x.flatten(2).mean(-1)[..., None, None],
    "by pooling": lambda x: x * F.adaptive_avg_pool2d(x, 1),
    "attention by @": lambda x: x @ x.transpose(-1, -2) @ x,
    "einsum": lambda x: torch.einsum("nchw,nchv->ncwv", x, x),
    "linear along rows": lambda x: F.linear(x, torch.eye(SIDE)),
    "matmul of a constant": lambda x: torch.eye(SIDE) @ x,
    "layer norm of planes": lambda x: F.layer_norm(x, x.shape[2:]),
    "batch norm in training": lambda x: F.batch_norm(x, torch.zeros(C), torch.ones(C), training=True),
    "transposed": lambda x: x.transpose(2, 3),
    "permuted": lambda x: x.permute(0, 1, 3, 2),
    "turned and added": lambda x: x + x.mT,
    "shifted by slices": lambda x: torch.cat([x[..., 1:], x[..., :1]], -1),
    "sliced": lambda x: x - x[:, :, :1],
    "padded": lambda x: F.pad(x, (1, 0, 0, 0))[..., :-1],
    "joined rows": lambda x: torch.cat([x, x], 2),
    "cumsum": lambda x: x.cumsum(-1),
    "sorted": lambda x: x.sort(2).values,
    "topk": lambda x: x.topk(SIDE, 3).values,
    "bicubic": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
    "fft": lambda x: torch.fft.fft2(x).real,
    "indices": lambda x: x[:, :, torch.arange(SIDE - 1, -1, -1)],
    "index_select": lambda x: x.index_select(3, torch.arange(SIDE - 1, -1, -1)),
    "mask": lambda x: x * (x[x > 0].sum()),
    "written": lambda x: x.clone().index_fill_(2, torch.tensor([0]), 0),
    "setitem": lambda x: x.clone().__setitem__((slice(None), slice(None), 0), 0) or x,
    "set positions": lambda x: x.clone().__setitem__((slice(None), 0), torch.linspace(0, 1, SIDE)) or x,
    "set turned": lambda x: x.clone().__setitem__((slice(None), 0), x[:, 0].mT) or x,
    "expanded patches": lambda x: x[:1].expand(SIDE, -1, -1, -1)[: len(x)],
    "moved rows": lambda x: x.movedim(2, 3),
    "norm of rows": lambda x: x / torch.linalg.vector_norm(x, dim=3, keepdim=True),
    "median of patches": lambda x: x - x.median(),
    "across patches": lambda x: x - x.mean(0, keepdim=True),
    "item": lambda x: x * x.sum().item(),
    "branch": lambda x: x if (x > 0).all() else -x,
    "data": lambda x: x.data.flip(2),
    "numpy": lambda x: torch.from_numpy(x.detach().numpy()[:, :, ::-1].copy()),
    "positions": lambda x: x + torch.linspace(0, 1, SIDE),
    "positions like": lambda x: x + torch.arange(SIDE)[:, None],
    "random": lambda x: x + torch.rand_like(x),
    "random channels": lambda x: x * torch.rand(1, C, 1, 1),
    "dropout": lambda x: F.dropout(x, 0.5, True),
    "out": lambda x: torch.add(x, 1, out=torch.empty_like(x)),
    "aten": lambda x: torch.ops.aten.mean.default(x) * x,
    "own function": Squared.apply,
    "script": scripted,
    "places": lambda x: x + torch.where(x > 0)[0].sum(),
    "overlapping windows": lambda x: F.max_pool2d(x, 3, 2, 0, ceil_mode=True),
    "unfold": lambda x: F.unfold(x, 3, padding=1),
    "window": lambda x: x.view(x.shape[0], C, SIDE // 2, 2, SIDE // 2, 2).amax((3, 5)),
    "constant": lambda x: torch.zeros(x.shape),
    "kept": stale,
    "var": lambda x: x / x.var(),
    "vmap": lambda x: x * torch.func.vmap(lambda t: t.mean(), in_dims=1)(x)[:, None, None],
    "functionalize": lambda x: x * torch.func.functionalize(lambda t: t.mean())(x),
    "vjp": lambda x: x * torch.func.vjp(lambda t: t.mean(), x)[0],
    "subclass": lambda x: x * x.as_subclass(Subclass).mean(),
    "geometric": lambda x: x * torch.empty(1, C, 1, 1).geometric_(0.5),
    "squares between patches": lambda x: F.pixel_shuffle(F.pixel_unshuffle(x, 4).softmax(1), 4),
}


@pytest.mark.parametrize("name", FURTHER)
@pytest.mark.parametrize("recording", [False, True])
def test_what_looks_further_is_refused(name, recording, x):
    kept.clear()
    with torch.set_grad_enabled(recording), pytest.raises(RuntimeError, match=r"^RoutedBlock: expected [^\n]+, got"):
        block = Block(lambda x, a: FURTHER[name](a(x)), conv())
        routed = vk.nn.RoutedBlock(block, PATCH, halo=2, chunk=4)
        routed(x, EVERY)


ROOTS = {
    "sqrt": lambda y: y / y.pow(2).sum(1, keepdim=True).sqrt().clamp(min=1e-6),
    "norm": lambda y: y / (y.norm(dim=1, keepdim=True) + 1e-6),
    "log": lambda y: y.abs().log().clamp(min=-9),
}


@pytest.mark.parametrize("name", ROOTS)
def test_gradients_are_finite_where_a_derivative_outside_the_image_is_not(name, x):
    """Patches at the border run on zeros outside it, which the dense block does not have."""
    grads = []
    block = Block(lambda x, a, b: b(ROOTS[name](a(x))), conv(bias=False), conv())
    for run in (block, lambda t: vk.nn.RoutedBlock(block, PATCH, halo=2)(t, EVERY)):
        block.zero_grad()
        run(x).square().sum().backward()
        grads.append([p.grad.clone() for p in block.parameters()])
    for found_grads, expected in zip(*reversed(grads)):
        torch.testing.assert_close(found_grads, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("chunk", [4, 64])
@pytest.mark.parametrize("halo", [0, 8])
def test_a_block_may_begin_in_place_where_there_are_gradients(halo, chunk, x):
    block = nn.Sequential(nn.ReLU(inplace=True), conv(k=1), nn.ReLU(inplace=True))
    grads = []
    for run in (block, lambda t: vk.nn.RoutedBlock(block, PATCH, halo=halo, chunk=chunk)(t, EVERY)):
        leaf = x.clone().requires_grad_()
        grads.append(torch.autograd.grad(run(leaf * 1).square().sum(), leaf)[0])
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("call", [
    lambda t: 1 - t, lambda t: t**2, lambda t: 1 / (t + 2), lambda t: 2**t, lambda t: -t + t % 2,
    lambda t: t * torch.ones(1, C, 1, 1),
])  # fmt: skip
def test_arithmetic_under_compile(call, x):
    block = vk.nn.RoutedBlock(Block(lambda x: call(x)), PATCH, halo=8)
    indices = vk.patch_indices(EVERY)
    result = torch.compile(lambda a, i: block(a, i), backend="eager", fullgraph=True)(x, indices)
    torch.testing.assert_close(result, call(x))


def test_weights_may_be_normalised(x):
    block = Block(lambda x, a: F.conv2d(x, F.normalize(a.weight.flatten(1)).view_as(a.weight), padding=1), conv())
    torch.testing.assert_close(vk.nn.RoutedBlock(block, PATCH, halo=2)(x, EVERY), block(x))
