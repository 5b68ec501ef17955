"""What CUDA kernels should cost by the counts of the simulator (docs/gpu.md), and what they cost before."""

import functools
import importlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vfi_kernels import _cli
from vfi_kernels.bench.gpus import GPUS, SECTOR
from vfi_kernels.bench.jobs import Job, plan
from vfi_kernels.bench.measure import deterministic_way
from vfi_kernels.testing import OpCase, load_cases, register

ROOT = Path(__file__).resolve().parents[1]
GPU = "H100"  # whose PTX is counted
INSTRUCTIONS, BYTES_TIME, ARITHMETIC = "instructions/px", "times the time of its bytes", "instructions per operation"
STEP, DIVISIONS = "instructions per k16 step", "64-bit divisions/px"
TRAFFIC, DENSE = "times the least bytes", "times a dense convolution's bound"
TAUS = 24  # of the trajectories' cases
DEFORM, ROUTED, TRAJECTORY = "modulated_deform_conv2d-8", "routed_conv2d-64", "trajectory_warp-24"
WARP = "backward_warp-border"
PLANES = ("float32", "nchw")
DROP_INS = (
    ("lookup of correlations, RAFT", "correlation_lookup", "features-1080p"),
    ("adacof, 11 x 11 taps", "adacof-11", "vimeo"),
    ("sepconv, 51 taps", "sepconv-51", "vimeo"),
)


@dataclass(frozen=True)
class Call:
    """One way to run a case; `tf32`: float32 products as torch.set_float32_matmul_precision("high") allows."""

    job: Job
    deterministic: bool = False
    tf32: bool = False

    def __str__(self) -> str:
        words = [str(self.job), "deterministic" if self.deterministic else "", "tf32" if self.tf32 else ""]
        return " ".join(filter(None, words)).replace(" 1 thread", "")


@dataclass(frozen=True)
class Goal:
    text: str
    call: Call
    most: float
    unit: str = INSTRUCTIONS
    before: str = "-"  # in the same unit
    kernels: str = ""  # a pattern of those that count
    without: str = "^$"  # and of those that do not
    per: float = 1.0  # divides the figure: taus, or the share of pixels that are worked on
    sorts: bool = True  # whether torch's sort may be called
    derived: float | None = None  # what docs/gpu.md shows to be the least of this way, where that is more than asked

    def own(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows of the kernels that count."""
        named = [r for r in rows if r["kernel"] != "all"]
        return [r for r in named if re.search(self.kernels, r["kernel"]) and not re.search(self.without, r["kernel"])]

    def judge(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """`rows` are those of its call: what was counted, and whether that is at most what was asked, or derived."""
        own = self.own(rows)
        found = FIGURES[self.unit](own, rows) / self.per if own else None
        counts = found is not None and (self.sorts or "sort" not in rows[-1]["torch"])
        met, as_derived = (
            counts and most is not None and round(found, 2) <= most for most in (self.most, self.derived)
        )
        return {"counted": found, "met": met, "as_derived": as_derived, "kernels": [r["kernel"] for r in own]}


def instructions(own: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> float:
    return sum(row["instructions_per_pixel"] for row in own)


def bytes_time(own: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> float:
    """The bound over what the bytes of these kernels take."""
    moved = sum(SECTOR * sum(row["sectors"].values()) * row["pixels"] for row in own)
    return sum(row["bound_us"][GPU] for row in own) / (moved / (GPUS[GPU].bandwidth * 1e3))


def arithmetic(own: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> float:
    """By the formulas of scripts/arithmetic.py, of those of their kernels that ran."""
    call = rows[-1]
    size = load_cases()[call["case"]].large[call["shape"]]
    job = Job(call["case"], call["shape"], size, call["dtype"], call["layout"], call["mode"])
    formulas = of_scripts("arithmetic").FORMULAS[load_cases()[call["case"]].op](job)
    operations = sum(count for part, count in formulas.items() if any(part in row["kernel"] for row in own))
    return instructions(own, rows) / operations if operations else float("inf")


def step(own: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> float:
    """Of the kernel that takes most."""
    steps = [row["step_instructions"] for row in own if row["step_instructions"]]
    return max(steps, default=float("inf"))


def divisions(own: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> float:
    return sum(row["divisions_per_pixel"] for row in own)


def traffic(own: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> float:
    return rows[-1]["bytes_ratio"]


def dense(own: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> float:
    """On the GPU where it is largest. Half of the patches are active: a dense convolution has twice the products, and
    reads all of the image."""
    found = []
    for name, gpu in GPUS.items():
        total = rows[-1]
        products = 2 * total["products_per_pixel"] * total["pixels"]
        case, shape = load_cases()[total["case"]], total["shape"]
        _, channels, height, width = case.large[shape]
        nbytes = 2 * 2 * channels * height * width  # the image and the result in half precision
        best = max(nbytes / (gpu.bandwidth * 1e3), 2 * products / (gpu.tensor["half"] * 1e6))
        found.append(total["bound_us"][name] / best)
    return max(found)


FIGURES = {
    INSTRUCTIONS: instructions,
    BYTES_TIME: bytes_time,
    ARITHMETIC: arithmetic,
    STEP: step,
    DIVISIONS: divisions,
    TRAFFIC: traffic,
    DENSE: dense,
}


def register_more() -> None:
    """Cases that only this table has: one offset group, a bias, keyframes that are half as large as the image."""
    from vfi_kernels.ops.modulated_deform_conv2d import cases as deform
    from vfi_kernels.ops.routed_conv2d import cases as routed
    from vfi_kernels.ops.trajectory_warp import cases as trajectory

    known = load_cases()
    eight, active, warp = (known[name] for name in (DEFORM, ROUTED, TRAJECTORY))
    one = functools.partial(deform.make_inputs, parts=1)
    register(OpCase(f"{eight.op}-1", eight.op, eight.call, one, (), eight.large, eight.bytes_moved))

    def with_bias(*shape: int, **options: Any) -> tuple[Any, ...]:
        x, weight = active.make_inputs(*shape, **options)
        return x, weight, weight[:, :1, :1, :1].clone()  # 4-dimensional, for layouts

    def call(x: Any, weight: Any, bias: Any, *, patch: int) -> Any:
        return routed.routed_conv2d(x, weight, bias[:, 0, 0, 0], routed.every_other_patch(x, patch), patch)

    def bytes_moved(x: Any, weight: Any, bias: Any) -> int:
        return routed.bytes_moved(x, weight) + bias.nbytes

    biased = functools.partial(call, patch=64)
    register(OpCase(f"{active.op}-bias", active.op, biased, with_bias, (), active.large, bytes_moved, flow=None))
    coarse = functools.partial(trajectory.make_inputs, count=9, taus=TAUS, coarse=2)
    register(OpCase(f"{warp.op}-resized", warp.op, warp.call, coarse, (), warp.large, warp.bytes_moved))


def call(
    case: str, shape: str, dtype: str = "float16", layout: str = "channels_last", mode: str = "forward", **more: bool
) -> Call:
    recording = "grad" if mode != "forward" else "inference_mode"
    size = load_cases()[case].large[shape]
    return Call(Job(case, shape, size, dtype, layout, mode, recording), **more)


def goals() -> list[Goal]:
    """After register_more()."""
    features, hd = "features-448", "1080p"
    columns, sums = call(DEFORM, features, mode="backward"), {"kernels": "weight", "without": "pack"}
    columns_kernels = {"without": "weight|bias"}
    splats = [("splat-softmax", "softmax"), ("splat-average", "average")]
    lora, wide = "mixture_lora-one", ("attention", "bfloat16")
    tf32 = call(lora, "attention", *PLANES, tf32=True)
    rows = [
        Goal("deformable convolution, gradient of columns", columns, 40_000, before="392,985", **columns_kernels),
        Goal("the same, deterministic", call(DEFORM, features, mode="backward", deterministic=True), 60_000,
             before="866,000", **columns_kernels),
        Goal("deformable convolution, 8 offset groups", call(DEFORM, hd), 12_000, before="50,350"),
        Goal("deformable convolution, 1 offset group", call("modulated_deform_conv2d-1", hd), 8_000, before="34,966"),
        Goal("deformable convolution, 8 offset groups", call(DEFORM, hd, layout="nchw"), 16_000, before="84,737"),
        Goal("deformable convolution, gradient of weights", columns, 16_000, before="184,541", **sums),
        Goal("gradient of taus", call("sample_trajectory-keys", "1080p-8", *PLANES, mode="backward"), 3, BYTES_TIME,
             ">100", "grad_taus"),
        Goal("gradient of a bias", call("routed_conv2d-bias", "2k-64", mode="backward"), 3, BYTES_TIME, ">100",
             "grad_bias"),
        Goal("routed convolution, of active pixels", call(ROUTED, "2k-64"), 3_500, before="17,592", per=0.5),
        Goal("routed convolution, half of the patches active", call(ROUTED, "2k-64"), 0.7, DENSE, derived=0.78),
        *(Goal(f"splat {word}, 3 channels", call(case, hd, *PLANES), 350, before="894") for case, word in splats),
        *(Goal(f"splat {word}, 32 channels", call(case, "features-960", *PLANES), 1_200, before="7,500")
          for case, word in splats),
        Goal("backward warp", call(WARP, hd, *PLANES), 200, before="294"),
        Goal("backward warp", call(WARP, hd, "float16", "nchw"), 220, before="313"),
        *(Goal(f"splat {word}, deterministic, without a sort of everything",
               call(case, hd, *PLANES, deterministic=True), 500, before="1,400 and a sort", sorts=False, derived=most)
          for (case, word), most in zip(splats, (693, 567))),
        Goal("backward warp, gradients", call(WARP, hd, *PLANES, mode="backward"), 600, before="1,465"),
        *(Goal(text, call("correlation", features, layout=layout, mode=mode), most, before=before)
          for layout in ("channels_last", "nchw")
          for text, mode, most, before in (("correlation, radius 4, 64 channels", "forward", 3_000, "34,000"),
                                           ("the same, gradients", "backward", 6_000, "51,000"))),
        Goal("trajectory warp, for each tau", call(TRAJECTORY, "576p", *PLANES), 280, before="551", per=TAUS),
        Goal("trajectory splat, for each tau", call("trajectory_splat-softmax", "576p", *PLANES), 450, before="1,241",
             per=TAUS, derived=455),
        *(Goal(f"{text}{more}", call(case, shape, *PLANES, mode=mode), 3, ARITHMETIC)
          for text, case, shape in DROP_INS for mode, more in (("forward", ""), ("backward", ", gradients"))),
        Goal("mixture_lora", call(lora, *wide), 1.3, TRAFFIC, "two more passes over the output"),
        Goal("mixture_lora, product along the features", call(lora, *wide), 26, STEP, "65", "shrink"),
        Goal("the same, tf32", tf32, 26, STEP, "152", "shrink", derived=35),
        Goal("resized flows of a trajectory", call("trajectory_warp-resized", "576p", *PLANES), 0.1, DIVISIONS),
    ]  # fmt: skip
    return rows


def of_scripts(module: str) -> Any:
    """A module of the folder scripts."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module(module)
    finally:
        sys.path.pop(0)


def rows_of_gpu_check() -> list[Call]:
    """What `make gpu-check` measures of the CUDA kernels, in any order and deterministic where that differs."""
    steps = of_scripts("gpu_steps.benchmarks").timing_steps()
    jobs: list[Job] = []
    for step in (step for step in steps if step.name.startswith("bench") and step.needs == "cuda"):
        command = step.command(Path())
        options = _cli.parser().parse_args(command[command.index("bench") :])
        jobs += plan(**{n: getattr(options, n) for n in ("op", "dtype", "layout", "mode", "shape")}, threads=[1])
    calls = [Call(job, way) for job in jobs for way in (False, True)[: 1 + deterministic_way(op_of(job), job.mode)]]
    return list(dict.fromkeys(calls))


def op_of(job: Job) -> str:
    return load_cases()[job.case].op


def is_first(call: Call) -> bool:
    """Whether it is of the first benchmark of its op: those that the page shows."""
    first = next(c for c in load_cases().values() if c.op == op_of(call.job) and c.large)
    return (call.job.case, call.job.shape) == (first.name, next(iter(first.large)))
