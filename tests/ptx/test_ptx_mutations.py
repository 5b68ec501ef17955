"""Faults planted in every kernel that the cases run: the simulator, or a wrong result, shows them."""

import itertools
import os
from collections import defaultdict
from pathlib import Path
from random import Random

import pytest
import torch
from every_op import channels_last, check_all
from mutations import KINDS, entries, planted
from op_calls import CASES, make

from vfi_kernels.bench import simulator
from vfi_kernels.testing import map_tensors

pytestmark = pytest.mark.nightly

SHAPES = ((2, 6, 11, 37), (2, 8, 11, 36))  # the second for accesses of several elements
EACH = int(os.environ.get("VFI_KERNELS_MUTANTS", "1"))  # of a kind in a kernel
# Parts of kernels' names, kinds of faults, and why a fault there changes nothing that could be seen.
EQUIVALENT: dict[tuple[str, str], str] = {}


def run(condition):
    case, shape, dtype, last, deterministic = condition
    torch.are_deterministic_algorithms_enabled = lambda: deterministic
    arguments = make(case, shape, dtype)
    check_all(case, map_tensors(channels_last, arguments) if last else arguments)


def conditions():
    return itertools.product(CASES.values(), SHAPES, (torch.float32, torch.float16), (False, True), (False, True))


def uses(counts, texts):
    """For each kernel, each of its lines that runs, as a number in the kernel, and a condition under which it does."""
    found = defaultdict(dict)
    for condition in conditions():
        counts.forget()
        run(condition)
        for name in (kernel["name"] for kernel in counts.kernels() if "lanes" in kernel):
            for line, _, _, lanes, *_ in counts.module.lines(name):
                if lanes:
                    found[name].setdefault(line - texts[name].begin, condition)
    return found


def is_caught(condition):
    try:
        run(condition)
    except (RuntimeError, AssertionError):
        return True
    return False


def test_planted_faults_are_caught(monkeypatch, capsys):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    made = simulator.build("9.0")
    texts = {name: e for ptx, _ in made["kernels"] for name, e in entries(Path(ptx).read_text()).items()}
    rng, caught, survived = Random(11), defaultdict(int), []
    with simulator.simulated("9.0", seed=1) as counts:
        used = uses(counts, texts)
        counts.module.set_jumps(10**6)
        for name, ran in sorted(used.items()):
            for kind, n, text in planted(texts[name], set(ran), EACH, rng):
                counts.module.load_text(text, "mutant")
                if is_caught(ran[n]):
                    caught[kind] += 1
                elif not any(part in name and k == kind for part, k in EQUIVALENT):
                    survived.append((kind, name, n, texts[name].lines[n].strip()))
            counts.module.load_text(texts[name].text(), f"original of {name}")
        counts.module.set_jumps(10**9)
    simulator.forget()
    total = sum(caught.values()) + len(survived)
    with capsys.disabled():
        print(f"\n{len(used)} kernels, {total} faults, {total - len(survived)} caught")
        for kind in KINDS:
            left = [s for s in survived if s[0] == kind]
            print(f"  {kind}: {caught[kind]} of {caught[kind] + len(left)}")
        for kind, name, n, line in survived:
            print(f"  survived: {kind}, {name}, line {n}: {line}")
    assert sum(caught.values()) >= 0.95 * total
