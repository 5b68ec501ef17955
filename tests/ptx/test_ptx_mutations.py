"""Faults planted in every kernel that the cases run: the simulator, or a wrong result, shows them."""

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

SHAPE = (2, 6, 11, 37)
EACH = int(os.environ.get("VFI_KERNELS_MUTANTS", "1"))  # of a kind in a kernel
# Kernels, kinds of faults, and why a fault there changes nothing that could be seen.
EQUIVALENT: dict[tuple[str, str], str] = {}


def run(condition):
    case, dtype, last, deterministic = condition
    torch.are_deterministic_algorithms_enabled = lambda: deterministic
    arguments = make(case, SHAPE, dtype)
    check_all(case, map_tensors(channels_last, arguments) if last else arguments)


def conditions():
    for dtype in (torch.float32, torch.float16):
        for last in (False, True):
            for deterministic in (False, True):
                for case in CASES.values():
                    yield case, dtype, last, deterministic


def users(counts):
    """For each kernel the conditions under which it runs, the first two."""
    found = defaultdict(list)
    for condition in conditions():
        counts.forget()
        run(condition)
        for kernel in counts.kernels():
            if kernel["name"] != "memset" and len(found[kernel["name"]]) < 2:
                found[kernel["name"]].append(condition)
    return found


def is_caught(name, kept):
    """By any of the conditions."""
    for condition in kept:
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
        used = users(counts)
        counts.module.set_jumps(10**6)
        for name, kept in sorted(used.items()):
            for kind, n, text in planted(texts[name], EACH, rng):
                counts.module.load_text(text, "mutant")
                if is_caught(name, kept):
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
