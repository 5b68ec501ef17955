"""Faults planted in every kernel that the cases run: the simulator, or a wrong result, shows them. An op after another:
`pytest tests/ptx/test_ptx_mutations.py -k splat`; the last test sums up what ran."""

import functools
import itertools
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import torch
from every_op import channels_last, check_all
from mutations import KINDS, entries, planted
from op_calls import CASES, make

from vfi_kernels.bench import simulator
from vfi_kernels.bench.measure import deterministic_way
from vfi_kernels.testing import map_tensors, tensors

pytestmark = [pytest.mark.nightly, pytest.mark.xdist_group("mutations")]

# The second for accesses of several elements, the others for blocks of 64 and of 128 output channels.
SHAPES = ((2, 6, 11, 37), (2, 8, 11, 36), (1, 64, 3, 21), (1, 128, 3, 21))
# For what survives: more than a block of channels, or of rows; many channels, which are taus in sample_trajectory; and,
# last, for it takes minutes, more samples than a grid has layers.
LARGER = ((1, 40, 19, 70), (1, 8, 130, 36), (1, 300, 3, 5), (65537, 1, 1, 2))
MOST, MOST_LARGER = 2**17, 2**22  # elements of an image: some cases have whole patches, however small the shape
# Of a launch, after which a loop has no end; of one with so many samples, which each block may loop over.
JUMPS, JUMPS_OF_MANY, MANY = 10**7, 10**9, 1000
EACH = int(os.environ.get("VFI_KERNELS_MUTANTS", "1"))  # of a kind in a kernel
CSRC = simulator.ROOT / "csrc" / "ops"
ELSEWHERE = {"trajectory_splat": "splat"}  # an op whose kernels another one's sources have


def home_of(case) -> str:
    folder = simulator.folder_of(case.op)
    return ELSEWHERE.get(folder, folder)


OPS = sorted({home_of(case) for case in CASES.values()})


@dataclass(frozen=True)
class Equivalent:
    """Faults that change nothing that could be seen. Patterns of kernels' names and of lines."""

    kernel: str
    kind: str
    line: str
    reason: str

    def holds(self, kind, name, line) -> bool:
        return kind == self.kind and bool(re.search(self.kernel, name) and re.search(self.line, line))


EQUIVALENT: tuple[Equivalent, ...] = ()
SUMS: dict[str, tuple[int, int]] = {}  # by op: faults that were caught, and all


@dataclass(frozen=True)
class Fault:
    kind: str
    kernel: str
    number: int  # of its line in the kernel
    line: str
    shown: tuple | None  # the condition under which it shows
    usual: tuple  # that under which most do


def with_holes(case, arguments):
    """Of which some kernels ask no more than whether they are numbers."""
    arguments[case.flow][:, 0, :, 1::5] = torch.nan
    arguments[case.flow][:, 1:, :, 3::7] = torch.inf
    if "softmax" in case.name:
        arguments[-1][..., 0] += 100  # the largest metric is beside a hole
    return arguments


def with_taus(case, arguments):
    """More than a table has."""
    place = case.flow + 1
    return (*arguments[:place], arguments[place].repeat(1, 20, 1, 1), *arguments[place + 1 :])


def with_ranks(case, arguments):
    """More than a step of a product has."""
    *layer, a, b, a_bias, b_bias = arguments
    return (*layer, a.repeat(1, 1, 12, 1), b.repeat(1, 1, 1, 12), a_bias.repeat(1, 1, 1, 12), b_bias)


def changes_of(case):
    """Of the arguments, for what survives."""
    if case.flow is not None:
        yield with_holes
        yield from (with_taus,) if "trajectory" in case.op else ()
    if case.op == "mixture_lora":
        yield with_ranks


def run(condition, change=None):
    case, shape, dtype, last, deterministic = condition
    torch.are_deterministic_algorithms_enabled = lambda: deterministic
    arguments = make(case, shape, dtype)
    arguments = change(case, arguments) if change else arguments
    check_all(case, map_tensors(channels_last, arguments) if last else arguments)


@functools.cache
def elements(name, shape) -> int:
    return tensors(make(CASES[name], shape))[0].numel()


def conditions(op):
    for case in CASES.values():
        if home_of(case) == op:
            shapes = [shape for shape in SHAPES if elements(case.name, shape) <= MOST]
            ways = (False, True) if deterministic_way(case.op, "both") else (False,)
            yield from itertools.product([case], shapes, (torch.float32, torch.float16), (False, True), ways)


def texts_of(op):
    """The kernels of its own files. Of those that another file has, too, the first one's are run."""
    first = {}
    for ptx, _ in simulator.build("9.0", [op])["kernels"]:
        for name, entry in entries(Path(ptx).read_text()).items():
            first.setdefault(name, (Path(ptx).stem, entry))
    own = {source.stem for source in (CSRC / op).glob("*_cuda.cu")}
    return {name: entry for name, (stem, entry) in first.items() if stem in own}


def uses(counts, op, texts):
    """For each kernel, each of its lines that runs, counted from its first, and the conditions under which it does."""
    found = defaultdict(lambda: defaultdict(list))
    for condition in conditions(op):
        counts.forget()
        run(condition)
        for name in (kernel["name"] for kernel in counts.kernels() if "lanes" in kernel and kernel["name"] in texts):
            for line, _, _, lanes, *_ in counts.module.lines(name):
                if lanes:
                    found[name][line - texts[name].begin].append(condition)
    return found


def is_caught(counts, condition, change=None):
    counts.module.set_jumps(JUMPS_OF_MANY if condition[1][0] > MANY else JUMPS)
    try:
        run(condition, change)
    except (RuntimeError, AssertionError):
        return True
    return False


def conditions_for(ran):
    """The first of them shows a fault as a rule. Then one of each other case and dtype, other flows, larger images."""
    first, *rest = ran
    others = {(case.name, dtype, last): (case, shape, dtype, last, way) for case, shape, dtype, last, way in rest}
    more = list(others.values())
    yield first, None
    yield from ((condition, None) for condition in more)
    yield from ((first, change) for change in changes_of(first[0]))
    for case, _, *how in [first, *more[:1]]:
        yield from (((case, shape, *how), None) for shape in LARGER if elements(case.name, shape) <= MOST_LARGER)


def shows(counts, ran):
    """The condition that shows the fault, or None."""
    return next((condition for condition in conditions_for(ran) if is_caught(counts, *condition)), None)


def faults_of(counts, used, texts):
    rng = Random(11)
    for name, ran in sorted(used.items()):
        for kind, n, text in planted(texts[name], set(ran), EACH, rng):
            line = texts[name].lines[n].strip()
            if any(e.holds(kind, name, line) for e in EQUIVALENT):
                continue
            counts.module.load_text(text, "mutant")
            yield Fault(kind, name, n, line, shows(counts, ran[n]), ran[n][0])
        counts.module.load_text(texts[name].text(), f"original of {name}")


def report(op, kernels, found):
    """A line; then those that were not caught."""
    kinds = []
    for kind in KINDS:
        shown = [fault.shown is not None for fault in found if fault.kind == kind]
        kinds += [f"{kind} {sum(shown)} of {len(shown)}"] if shown else []
    lines = [f"{op}: {kernels} kernels, faults caught: {', '.join(kinds)}"]
    survivors = [fault for fault in found if fault.shown is None]
    lines += [f"  survived: {f.kind}, {f.kernel}, line {f.number}: {f.line}" for f in survivors]
    return "\n".join(lines)


ASSEMBLY = """.version 9.0
.visible .entry one(
)
{
	{max.f16x2 %r1,%r2,%r3;
}
	mov.b32 {%rs1, %rs2}, %r1;
	ret;
}
.visible .entry two()
{
	ret;
}
"""


def test_a_kernel_ends_where_its_own_brace_is():
    one, two = entries(ASSEMBLY).values()
    assert one.lines[-2:] == ("\tret;", "}") and (one.begin, len(one.lines)) == (2, 8)
    assert two.lines == (".visible .entry two()", "{", "\tret;", "}")
    assert one.text() + "\n".join([*two.lines, ""]) == ASSEMBLY


@pytest.mark.parametrize("op", OPS)
def test_planted_faults_are_caught(op, monkeypatch, capsys):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    texts = texts_of(op)
    with simulator.simulated("9.0", [op], seed=1) as counts:
        used = uses(counts, op, texts)
        found = list(faults_of(counts, used, texts))
        unusual = [fault for fault in found if fault.shown not in (None, (fault.usual, None))]
        wrong = [fault for fault in unusual if is_caught(counts, *fault.shown)]
        counts.module.set_jumps(JUMPS_OF_MANY)
    simulator.forget()
    caught = [fault for fault in found if fault.shown is not None]
    SUMS[op] = len(caught), len(found)
    with capsys.disabled():
        print("", report(op, len(used), found), sep="\n")
    assert found
    assert wrong == []  # what shows these faults shows some in the kernels as they are


def test_most_planted_faults_are_caught(capsys):
    """Of the ops above, as far as they ran."""
    if not SUMS:
        pytest.skip("no op ran")
    caught, total = (sum(numbers) for numbers in zip(*SUMS.values()))
    with capsys.disabled():
        print(f"\n{len(SUMS)} ops, {total} faults, {caught} caught")
    assert caught >= 0.95 * total
