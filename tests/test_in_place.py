"""What writes into its argument: it reads nothing from that memory, is named in its refusals, and leaves what it
refuses as it was."""

import inspect

import pytest
import torch

import vfi_kernels as vk

LIST = torch.tensor([[0, 0, 0], [0, 1, 1]], dtype=torch.int32)
# Of every public function in place: arguments that it takes.
TAKEN = {
    "patch_scatter_": lambda: {"patches": torch.rand(2, 4, 4, 4), "indices": LIST.clone()},
    "routed_conv2d_": lambda: {
        "input": torch.rand(1, 4, 8, 8), "weight": torch.rand(4, 4, 3, 3), "bias": torch.rand(4),
        "indices": LIST.clone(), "activation_weight": torch.rand(4), "activation": "prelu", "patch": 4,
    },
}  # fmt: skip
READ = [(name, key) for name, make in TAKEN.items() for key, v in make().items() if isinstance(v, torch.Tensor)]


def test_every_function_in_place_is_here():
    public = {n for n in dir(vk) if n.endswith("_") and not n.startswith("_")}
    assert public == set(TAKEN)
    for name in public:
        kinds = {key: p.annotation for key, p in inspect.signature(getattr(vk, name), eval_str=True).parameters.items()}
        listed = {key for key, kind in kinds.items() if kind in (torch.Tensor, torch.Tensor | None)} - {"base"}
        assert listed == {key for other, key in READ if other == name}


@pytest.mark.parametrize("name, key", READ)
def test_nothing_is_read_from_the_memory_that_is_written(name, key):
    function, arguments = getattr(vk, name), TAKEN[name]()
    memory = torch.rand(512)
    base, read = memory[:256].view(1, 4, 8, 8), arguments[key]
    for start in (0, 256):  # also of memory beside it, since only its owner is known
        shared = memory[start:].view(read.dtype)[: read.numel()].view(read.shape).copy_(read)
        before = memory.clone()
        expected = f"^{name}: expected a base with memory of its own, got one in the memory of {key}$"
        with pytest.raises(RuntimeError, match=expected):
            function(**{**arguments, key: shared}, base=base)
        assert torch.equal(memory, before)
    function(**arguments, base=base)


@pytest.mark.parametrize("name, key", [*READ, *((name, "base") for name in TAKEN)])
@pytest.mark.parametrize("backend", ["cpp", "reference"])
def test_refusals_name_the_function_and_change_nothing(name, key, backend):
    function, arguments = getattr(vk, name), {**TAKEN[name](), "base": torch.rand(1, 4, 8, 8)}
    good = arguments[key]
    before = arguments["base"].clone()
    wrong = [good.to(torch.complex64), good.to("meta"), good[..., :1, None], good[None], good.numpy(), good.to_sparse()]
    wrong += [good.double()] * (key in ("patches", "input", "base"))
    for bad in wrong:
        with vk.use_backend(backend), pytest.raises(RuntimeError, match=f"^{name}: expected [^\n]*$"):
            function(**{**arguments, key: bad})
        assert torch.equal(arguments["base"], before)


@pytest.mark.parametrize("shared", [False, True], ids=["", "base is the input"])
@pytest.mark.parametrize("halo", [0, 2])
def test_a_block_that_fails_later_leaves_the_base_as_it_was(halo, shared):
    """At its second chunk: an exception, a layer that is refused, channels or a dtype that do not fit."""
    later = {
        "exception": lambda x: 1 / 0,
        "another layer": lambda x: x.unflatten(7, (1, 1)),
        "channels": lambda x: x[:, :2],
        "dtype": lambda x: x.to(torch.complex64),
        "scale": lambda x: x[:, :, ::2, ::2],
    }

    class Block(torch.nn.Module):
        def __init__(self, change):
            super().__init__()
            self.change = change

        def forward(self, x):
            return x * 2 if x.shape[0] == 2 else self.change(x)

    x = torch.rand(1, 3, 8, 12)
    listed = torch.tensor([[0, 0, 0], [0, 1, 1], [0, 1, 2]], dtype=torch.int32)
    base = x if shared else torch.rand(1, 3, 8, 12)
    before = base.clone()
    for change in later.values():
        with pytest.raises((RuntimeError, ZeroDivisionError, IndexError)):
            vk.nn.RoutedBlock(Block(change), 4, halo, chunk=2)(x, listed, base, inplace=True)
        assert torch.equal(base, before)
    image, block = x.clone(), vk.nn.RoutedBlock(Block(torch.neg), 4, halo, chunk=2)
    assert block(x, listed, base, inplace=True) is base
    assert torch.equal(base, block(image, listed, before))
