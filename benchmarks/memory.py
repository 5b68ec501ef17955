"""Peak memory of a call beyond its arguments and its results, on the CPU, each case in a process of its own (Linux).

python benchmarks/memory.py                  the table of docs/benchmarks.md
python benchmarks/memory.py CASE SHAPE MODE  one row, ours and its peers, in MiB, as JSON; MODE: forward or both
"""

import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vfi_kernels.bench.jobs import plan
from vfi_kernels.bench.measure import OURS, make_arguments, options_of
from vfi_kernels.bench.peers import Peer, load_peers
from vfi_kernels.bench.report import text_table
from vfi_kernels.testing import load_cases, map_tensors, tensors

MIB = 1 << 20
THREADS = 2
ROWS = (
    ("backward_warp-border", "1080p"),
    ("warp_blend", "1080p"),
    ("splat-softmax", "1080p"),
    ("correlation", "features-448"),
    ("adacof-5", "vimeo"),
    ("sepconv-25", "vimeo"),
    ("sepconv-51", "vimeo"),
    ("correlation_lookup", "features-1080p"),
    ("modulated_deform_conv2d-8", "features-448"),
    ("modulated_deform_conv2d-8", "1080p"),
    ("sample_trajectory-keys", "576p"),
    ("trajectory_warp-24", "576p"),
    ("trajectory_splat-softmax", "576p"),
    ("patch_gather-64", "2k"),
    ("routed_conv2d-64", "2k-64"),
)
# Their peers take many GiB.
ALONE = (("modulated_deform_conv2d-8", "1080p"), ("correlation_lookup", "features-1080p"))
# Blocks from 64 KiB up go back to the system when they are freed: what one call leaves does not serve the next.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}


def resident(field: str) -> int:
    """VmRSS or VmHWM (its highest value) of this process, in bytes."""
    field_line = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert field_line is not None
    return int(field_line[1]) * 1024


def beyond(call: Callable[[], Any]) -> float:
    """MiB beyond what exists already and what `call` returns."""
    gc.collect()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest value starts again
    results = call()
    return max(resident("VmHWM") - before - sum(t.nbytes for t in tensors(results)), 0) / MIB


def calling(call: Callable[..., Any], arguments: tuple, mode: str) -> Callable[[], Any]:
    """`call(*arguments)`, or that and the gradient of every tensor; what is returned is not counted."""
    if mode == "forward":
        return torch.inference_mode()(lambda: call(*arguments))
    leaves = map_tensors(lambda t: t.detach().requires_grad_(t.is_floating_point()), arguments)

    def both() -> Any:
        outs = tensors(call(*leaves))
        grads = [torch.ones((), dtype=out.dtype).expand_as(out) for out in outs]
        return outs, torch.autograd.grad(outs, [t for t in tensors(leaves) if t.requires_grad], grads)

    return both


def measure(name: str, shape: str, mode: str) -> dict[str, float]:
    """MiB of ours and of each peer; a small call first, so that libraries are loaded and threads exist."""
    torch.set_num_threads(THREADS)
    case = load_cases()[name]
    (job,) = plan(op=[name], shape=[shape], threads=[THREADS])
    arguments = make_arguments(case, job, "float32")
    generator = torch.Generator().manual_seed(0)
    small = case.make_inputs(*case.small[-1], dtype=torch.float32, generator=generator)
    options = options_of(case)
    peaks = {}
    for who in [None, *(load_peers().get(case.op, []) if (name, shape) not in ALONE else [])]:
        if who is not None and not takes_part(who, arguments, mode, options):
            continue
        call, prepare = parts(case.call, who, options)
        calling(call, prepare(*small), mode)()
        peaks[OURS if who is None else who.name] = beyond(calling(call, prepare(*arguments), mode))
    return peaks


def takes_part(peer: Peer, arguments: tuple, mode: str, options: dict[str, Any]) -> bool:
    """Peers that compute the same, can, and start at once."""
    able = peer.unsuited(*arguments, **options) is None and (mode == "forward" or peer.differentiable)
    return able and not peer.compiles and not peer.yardstick


def parts(ours: Callable, peer: Peer | None, options: dict[str, Any]) -> tuple[Callable, Callable]:
    """What is called, and what makes its arguments of ours."""
    if peer is None:
        return ours, lambda *arguments: arguments
    return lambda *a: peer.call(*a, **options), lambda *a: peer.prepare(*a, **options)


def table(say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Every row, in MiB; a row is left out where the system does not tell, or the process fails."""
    rows = []
    for case, shape in ROWS:
        for mode in ("forward", "both"):
            command = [sys.executable, __file__, case, shape, mode]
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ALLOCATOR})
            if done.returncode == 0:
                rows.append({"case": case, "shape": shape, "mode": mode, "mib": json.loads(done.stdout)})
            say(f"{case} {shape} {mode}: {done.stdout.strip() or done.stderr.strip().splitlines()[-1]}")
    return rows


def of(rows: list[dict[str, Any]] | None, case: str, shape: str, mode: str = "forward") -> float | None:
    """Ours in one row, MiB."""
    peaks = [r["mib"][OURS] for r in rows or () if (r["case"], r["shape"], r["mode"]) == (case, shape, mode)]
    return peaks[0] if peaks else None


def cells(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """A header and cells: ours, then each peer that took part."""
    body = []
    for row in rows:
        peers = ", ".join(f"{name} {mib:.0f}" for name, mib in row["mib"].items() if name != OURS)
        body.append([row["case"], row["shape"], row["mode"], f"{row['mib'][OURS]:.1f}", peers or "-"])
    return ["case", "shape", "mode", "ours, MiB", "peers, MiB"], body


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(measure(*sys.argv[1:])))
    else:
        print(text_table(*cells(table(lambda line: print(line, file=sys.stderr)))))
