"""What each figure of the record must reach."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import memory
import rdvfi_phases
import routed
import routed_network
from groups import (
    DEFORM,
    DEFORM_8,
    DENSE,
    HALF,
    IN_STEPS,
    LINEAR,
    LORA,
    PLANES,
    SEVEN,
    SOFTMAX,
    TRAJECTORY,
    WARP,
    WIDE,
    WITH_GATHERS,
    WITH_TORCH,
)

from vfi_kernels.bench.measure import WRONG
from vfi_kernels.bench.overhead import TINY
from vfi_kernels.bench.peers import load_peers

# Besides the names of peers. A peer whose result is wrong, or another, is no measure.
FASTEST, FLOOR, MICROSECONDS = "the fastest peer that is right", "the floor", "us"


@dataclass(frozen=True)
class Goal:
    """What a row must reach: times faster than a peer at least, or times the floor, or microseconds, at most."""

    required: float
    against: str
    where: dict[str, Any]  # the row's conditions

    def figure(self, row: dict[str, Any]) -> float | None:
        if self.against == MICROSECONDS:
            return 1000 * row["timings"]["ours"]["median_ms"]
        if self.against == FLOOR:
            return row["times_floor"]
        if self.against == FASTEST:
            other = {peer.name for peers in load_peers().values() for peer in peers if peer.yardstick}
            right = [name for name in row["times_faster"] if row["differs"].get(name, 0) <= WRONG and name not in other]
            return min((row["times_faster"][name] for name in right), default=None)
        return row["times_faster"].get(self.against)

    def text(self) -> str:
        w = self.where
        words = [
            f"{w['case']} {w['shape']}",
            w["dtype"],
            w["mode"],
            f"{w['threads']} thread{'s' if w['threads'] > 1 else ''}",
        ]
        words += [f"forced to {w['level_forced']}"] if w["level_forced"] else []
        if self.against == MICROSECONDS:
            return f"{', '.join(words)}: time of a call"
        return f"{', '.join(words)}: {'times' if self.against == FLOOR else 'faster than'} {self.against}"

    def judge(self, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
        matching = [row for row in rows if all(row[name] == value for name, value in self.where.items())]
        figures = [value for value in map(self.figure, matching) if value is not None]
        at_most = self.against in (FLOOR, MICROSECONDS)
        reached = (max if at_most else min)(figures) if figures else None
        return judged(self.text(), self.required, reached, " us" if self.against == MICROSECONDS else "x", at_most)


def judged(text: str, required: float, reached: float | None, unit: str, at_most: bool) -> dict[str, Any]:
    """One line of the table of goals; `met` is None where nothing was measured."""
    met = None if reached is None else reached <= required if at_most else reached >= required
    words = f"at {'most' if at_most else 'least'} {required:g}{unit}"
    return {"text": text, "required": words, "reached": reached, "unit": unit, "met": met}


def goal(required: float, against: str, case: str, shape: str, level: str | None = None, **more: Any) -> Goal:
    usual = {"dtype": "float32", "layout": "nchw", "mode": "forward", "recording": "inference_mode", "flow": "smooth"}
    return Goal(required, against, {"case": case, "shape": shape, "threads": 2, **usual, "level_forced": level, **more})


def backward(required: float, against: str, case: str, shape: str, mode: str = "backward", **more: Any) -> Goal:
    return goal(required, against, case, shape, mode=mode, recording="grad", **more)


DEFORM_SHAPES = ((DEFORM, "features-112"), (DEFORM_8, "features-56"), (DEFORM, "features-256"))
CPU_GOALS = (
    goal(3.0, "RIFE", WARP, "1080p"),
    goal(2.5, "grid_sample", WARP, "1080p"),
    goal(2.5, "RIFE", WARP, "1080p", threads=1),
    goal(1.6, "grid_sample", WARP, "1080p", threads=1),
    goal(4.5, "RIFE", WARP, "features-960"),
    backward(5.0, "grid_sample", WARP, "features-448"),
    backward(3.0, "grid_sample", WARP, "1080p"),
    *(goal(1.0, "ours float32", WARP, shape, dtype=half) for shape in ("1080p", "features-448") for half in HALF),
    goal(2.0, "RIFE", WARP, "1080p", "avx2"),
    goal(2.0, "RIFE", WARP, "features-448", "avx2"),
    goal(8.0, PLANES, SOFTMAX, "1080p", "avx2"),
    goal(5.0, WITH_GATHERS, DEFORM, "features-112", "avx2", flow="noise"),
    *(goal(1.0, "RIFE", WARP, shape, "baseline") for shape in ("1080p", "features-448", "features-960")),
    goal(12.0, FASTEST, SOFTMAX, "1080p"),
    goal(15.0, FASTEST, SOFTMAX, "features-448"),
    goal(4.0, FLOOR, SOFTMAX, "1080p"),
    goal(4.0, FLOOR, SOFTMAX, "features-448"),
    goal(7.0, FASTEST, WIDE, "1080p"),
    goal(10.0, FASTEST, WIDE, "features-448"),
    backward(12.0, FASTEST, SOFTMAX, "1080p", "both"),
    backward(12.0, FASTEST, SOFTMAX, "features-448", "both"),
    *(goal(1 / 1.5, dense, *where, flow="noise") for where in DEFORM_SHAPES for dense in DENSE),
    *(goal(1 / 2.2, dense, *where, flow="noise", dtype="bfloat16") for where in DEFORM_SHAPES for dense in DENSE),
    *(goal(8.0, WITH_TORCH, *where, flow="noise") for where in DEFORM_SHAPES),
    *(backward(4.0, peer, *where, flow="noise") for where in DEFORM_SHAPES[:2] for peer in (WITH_TORCH, WITH_GATHERS)),
    goal(5.0, "loop over displacements", "correlation", "features-160", flow="smooth"),
    *(goal(1 / 1.08, LINEAR, LORA, "attention", dtype=dtype) for dtype in ("float32", "bfloat16")),
    *(goal(10.0, FASTEST, case, "vimeo") for case in ("adacof-5", "adacof-11", "sepconv-25", "sepconv-51")),
    goal(4.0, TRAJECTORY, "trajectory_warp-24", "576p"),
    goal(1.5, IN_STEPS, "trajectory_warp-24", "576p"),
    goal(5.0, MICROSECONDS, WARP, TINY, threads=1),
)


def judge_adapters(rows: Iterable[dict[str, Any]], dtype: str) -> dict[str, Any]:
    """What the adapters add to the time of the layer, over what seven of them add."""
    where = goal(1, LINEAR, LORA, "attention", dtype=dtype).where
    timings = [row["timings"] for row in rows if all(row[name] == value for name, value in where.items())]
    layer, ours, seven = ([row[name]["median_ms"] for row in timings] for name in (LINEAR, "ours", SEVEN))
    reached = max(((a - b) / (c - b) for a, b, c in zip(ours, layer, seven)), default=None)
    text = f"{LORA} attention, {dtype}, forward, 2 threads: time beyond the layer over that of {SEVEN}"
    return judged(text, 0.33, reached, "x", at_most=True)


def judge_block(block: dict[str, Any] | None, keep: float) -> dict[str, Any]:
    """At most the active share of the dense time, and 2 % of the dense time."""
    reached = None if block is None else routed.efficiency(block, keep)
    text = f"refine block with {keep:.0%} of its patches active, 2 threads: time over {keep:.0%} of the dense block's"
    return judged(text, round(1 + 0.02 / keep, 3), reached, "x", at_most=True)


def judge_networks(networks: dict[str, Any]) -> list[dict[str, Any]]:
    """How many times faster warps are in RIFE, the whole of it, its memory, and the adapters of SG-RIFE; what routing
    saves in APR-VFI; RDVFI's warping; seconds of ebme-splat."""
    rife, adapters = networks.get("rife"), networks.get("sg_rife_adapters")
    warps = whole = memory_share = fastest = None
    if rife:
        theirs, ours = rife["RIFE"], rife["ours"]
        warps, whole = (theirs[key] / ours[key] for key in ("inside_s", "whole_s"))
        memory_share = ours["peak_mib"] / theirs["peak_mib"] if ours["peak_mib"] and theirs["peak_mib"] else None
    if adapters:
        columns = [timing["whole_s"] for who, timing in adapters.items() if isinstance(timing, dict) and who != "ours"]
        fastest = min(columns) / adapters["ours"]["whole_s"]
    name = "RIFE 1088x1920, float32, all cores: "
    return [
        judged(f"{name}time in warps, faster than with its own", 3, warps, "x", at_most=False),
        judged(f"{name}whole forward, faster than with its own", 1, whole, "x", at_most=False),
        judged(f"{name}peak memory over that with its own", 1, memory_share, "x", at_most=True),
        judged("adapters of SG-RIFE 576x1024: faster than with columns", 3, fastest, "x", at_most=False),
        judged(
            "APR-VFI 1088x2048, routed: share of the synthesis' time saved over that of its multiply-accumulates",
            0.9,
            routed_network.efficiency(networks.get("apr_vfi")),
            "x",
            at_most=False,
        ),
        judged(
            "RDVFI 576x1024, 24 taus: warping of both frames, faster than in steps of torch",
            4,
            rdvfi_phases.faster(networks.get("rdvfi_warping")),
            "x",
            at_most=False,
        ),
        judged(
            "ebme-splat 640x480, all cores", 2, (networks.get("ebme_splat") or {}).get("seconds"), " s", at_most=True
        ),
    ]


def judge_all(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Every goal of the CPU, with what the document reached."""
    imports, model = document["imports"], document.get("flow-splat")
    seconds = imports["vfi_kernels_s"] if imports else None
    quality = model["mean_psnr"] if model else None
    slowest = model["slowest_s"] if model else None
    return [
        *(goal.judge(document["rows"]) for goal in CPU_GOALS),
        *(judge_adapters(document["rows"], dtype) for dtype in ("float32", "bfloat16")),
        judged(
            "modulated_deform_conv2d 64 channels 1088x1920, float32: memory beyond inputs and output",
            64,
            memory.of(document.get("memory"), DEFORM_8, "1080p"),
            " MiB",
            at_most=True,
        ),
        judged(
            "trajectory_warp, 24 taus, 3 channels, 576x1024, 2 threads: memory beyond inputs and output",
            2 * 6.75,
            memory.of(document.get("memory"), "trajectory_warp-24", "576p"),
            " MiB",
            at_most=True,
        ),
        *(judge_block(document.get("routed_block"), keep) for keep in (0.1, 0.4, 0.6, 0.9)),
        *judge_networks(document.get("networks") or {}),
        judged("import of vfi_kernels beyond torch's own", 0.3, seconds, " s", at_most=True),
        judged("flow-splat on six Middlebury scenes: mean PSNR", 34.5, quality, " dB", at_most=False),
        judged("flow-splat on the slowest of them (640x480)", 0.5, slowest, " s", at_most=True),
    ]
