"""The ops on ARM: NEON gives the bits of the baseline there, and those of x86 where the order of the sums is the same;
all agree with the float64 oracle, also where the processor multiplies bfloat16."""

import re
import sys
from pathlib import Path
from random import Random

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import arm_counts
from agreement import Trial
from compare import forward, gradients, make_cotangents
from every_op import DTYPES, channels_last, check_all, every_case, expanded, sliced, transposed
from op_calls import CASES, make
from random_calls import OPS, random_call

import vfi_kernels as vk
from vfi_kernels import backends
from vfi_kernels.bench.player import ROOT, PlayedOps, Player, same, unavailable
from vfi_kernels.testing import map_tensors, tensors

pytestmark = [pytest.mark.slow, pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))]
LEVELS = ("neon_bf16", "neon", "baseline")
# Ops that x86 sums in another order, with 8 or 16 lanes in place of 4: where channels are lanes, whose sums are added
# at the end; in adacof a vector's pixels add to the image one after another, neighbours far apart.
OTHER_ORDER = ("correlation_lookup", "correlation_lookup_grad", "modulated_deform_conv2d_grad", "adacof_grad")
PRODUCTS = ("modulated_deform_conv2d", "routed_conv2d", "correlation")  # x86 has units for those of halves
HALVES = {torch.float16, torch.bfloat16}


def rounds_otherwise(name, args):
    """Whether this process may give other bits."""
    given = tensors(args)
    dtypes = {t.dtype for t in given}
    return (
        backends.cpu_level() == "baseline"  # which fuses nothing on x86
        or name in OTHER_ORDER
        or name.startswith("mixture_lora")  # torch's products
        or (name.startswith(PRODUCTS) and dtypes & HALVES)
        or (name.endswith("_grad") and not all(t.is_contiguous() for t in given))  # channels_last: channels are lanes
        or torch.float64 in dtypes  # exp and erf are the C library's
    )


class ComparedOps(PlayedOps):
    """Every op runs at every level, and here, with the same results, which are those of the first level."""

    def __init__(self, players):
        super().__init__(players[0])
        self.others = players[1:]

    def run(self, func, args):
        name = func._schema.name.split("::")[1]
        writes = any(a.alias_info is not None and a.alias_info.is_write for a in func._schema.arguments)
        others = [player.run for player in self.others]
        others += [] if rounds_otherwise(name, args) else [lambda op, args: op(*args)]
        given = [map_tensors(torch.clone, args) if writes else args for _ in others]
        got = super().run(func, args)
        expected = (got, args)
        if name.startswith(PRODUCTS) and torch.bfloat16 in {t.dtype for t in tensors(args)}:
            # The first level's sums are of the processor's products: the others agree with each other.
            expected = (others.pop(0)(func, given[0]), given.pop(0))
        for run, arguments in zip(others, given):
            assert same(expected, (run(func, arguments), arguments)), f"{name}: other bits than {run} gives"
        return got


@pytest.fixture(scope="module")
def compared():
    players = [Player(level) for level in LEVELS]
    yield lambda: ComparedOps(players)
    for player in players:
        player.close()


@pytest.mark.in_turn("case", "dtype", of=10)
@every_case
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_agrees(case, dtype, compared):
    for shape in case.small:
        check_all(case, make(case, shape, dtype), ways=(compared,))


@pytest.mark.in_turn("case", "view", of=10)
@every_case
@pytest.mark.parametrize("view", [channels_last, transposed, sliced, expanded], ids=lambda f: f.__name__)
def test_any_strides(case, view, compared):
    check_all(case, map_tensors(view, make(case, (2, 19, 7, 21))), ways=(compared,))


@pytest.mark.nightly
@pytest.mark.parametrize("op", OPS)
def test_random_calls(op, compared):
    for seed in range(200):
        rng = Random(f"{op} {seed}")
        trial = Trial(op, random_call(op, rng), rng)
        with compared():
            trial.run("cpp")


def wide_deform():
    """So many channels that the gradients of offset and mask are summed in parts."""
    inputs = [torch.rand(1, 520, 2, 3), torch.randn(1, 18, 2, 3), torch.rand(1, 9, 2, 3), torch.randn(3, 520, 3, 3)]
    leaves = [t.requires_grad_() for t in (*inputs, torch.rand(3))]
    torch.autograd.grad(vk.modulated_deform_conv2d(*leaves, padding=1).sum(), leaves)


@pytest.mark.parametrize("level", LEVELS[:2])
def test_every_kernel_runs(level, tmp_path):
    """Those that headers declare, by qemu's list of the functions that it translated."""
    log = tmp_path / "translated.log"
    player = Player(level, qemu=("-d", "in_asm", "-D", str(log)))
    with PlayedOps(player):
        vk.patch_indices(torch.ones(1, 2, 3, dtype=torch.bool))
        wide_deform()
        for case in CASES.values():
            forward(case.call, make(case))
            gradients(case.call, make(case), make_cotangents(case.call, make(case)))
    player.close()
    headers = "".join(path.read_text() for path in sorted((ROOT / "csrc" / "ops").rglob("*.h")))
    declared = set(re.findall(r"^VFI_DECLARE_CPU_KERNEL\((\w+),", headers, re.MULTILINE))
    # _ZN3vfi4neon9warp_rowsE...: every part of a name follows its length.
    ran = set(re.findall(rf"^IN: _ZN3vfi{len(level)}{level}\d+(\w+?)E", log.read_text(), re.MULTILINE))
    assert len(declared) > 40 and declared <= ran, declared - ran


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_can_be_forced(level):
    player = Player(level)
    assert bytes(player.run(torch.ops.vfi_kernels.cpu_level.default, ()).tolist()).decode() == level
    player.close()


@pytest.mark.parametrize(("processor", "best"), [("max", b"neon_bf16"), ("cortex-a72", b"neon")])
def test_without_a_choice_it_is_the_best_that_there_is(processor, best):
    player = Player("", processor=processor)
    assert bytes(player.run(torch.ops.vfi_kernels.cpu_level.default, ()).tolist()) == best
    player.close()


def deformed(x, weight):
    return vk.modulated_deform_conv2d(x, torch.zeros(1, 18, *x.shape[2:], dtype=x.dtype) + 0.3, None, weight, padding=1)


def routed(x, weight):
    return vk.routed_conv2d(x, weight, None, vk.patch_indices(torch.ones(1, 2, 1, dtype=torch.bool)), 8)


@pytest.mark.parametrize("op", [deformed, routed])
def test_products_of_bfloat16_are_the_processors_own(op, tmp_path):
    """BFMMLA by qemu's list of what it translated; with the sums of the other level."""
    leaves = [torch.randn(*size).bfloat16().requires_grad_() for size in ((1, 16, 16, 8), (9, 16, 3, 3))]
    made = []
    for level in LEVELS[:2]:
        log = tmp_path / level
        player = Player(level, qemu=("-d", "in_asm", "-D", str(log)))
        with PlayedOps(player):
            out = op(*leaves)
            made.append((out.detach(), *torch.autograd.grad(out, leaves, torch.ones_like(out))))
        player.close()
    for ours, others in zip(*made, strict=True):
        torch.testing.assert_close(ours, others, rtol=0.01, atol=0.06)  # columns are rounded
    products = [
        len(re.findall(r"^IN: .*multiply_squares", (tmp_path / level).read_text(), re.MULTILINE))
        for level in LEVELS[:2]
    ]
    assert products[0] > 0 and products[1] == 0


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("amx", "vfi_kernels: VFI_KERNELS_CPU=amx, but this CPU's best level is neon_bf16"),
        ("sse", "vfi_kernels: expected VFI_KERNELS_CPU to be baseline, avx2, avx512, amx, neon or neon_bf16, got sse"),
    ],
)
def test_a_level_of_another_processor_is_refused(level, said):
    player = Player(level)
    with pytest.raises(RuntimeError, match=f"^{re.escape(said)}$"):
        player.run(torch.ops.vfi_kernels.backward_warp.default, (torch.rand(1, 3, 4, 4), torch.rand(1, 2, 4, 4)))
    player.close()


@pytest.mark.parametrize(("name", "options", "shape"), arm_counts.ROWS[::2])
def test_neon_takes_fewer_instructions(name, options, shape, tmp_path):
    plugin = arm_counts.compiled_plugin(tmp_path)
    small = (1, shape[1], 8, 32)
    for dtype in arm_counts.DTYPES:
        row = dict(zip(arm_counts.HEAD, arm_counts.counted(plugin, name, options, small, dtype)))
        assert float(row["baseline"]) > float(row["neon"]) > 20
        fewer = float(row["neon"]) / float(row["neon_bf16"])
        assert fewer > 1.2 if dtype == torch.bfloat16 and "deform" in name else fewer > 0.98
