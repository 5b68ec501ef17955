"""What is measured for the record, and what each figure must reach."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

WARP = "backward_warp-border"
SOFTMAX, WIDE = "splat-softmax", "splat-softmax-wide"  # metrics that span about 50, and more than 1000
HALF = ("float16", "bfloat16")
LIGHT = ("RIFE", "grid_sample", "cv2.remap", "backwarp")  # peers that start at once


@dataclass(frozen=True)
class Group:
    """Jobs that share their conditions; `choices` are those of vfi_kernels.bench.jobs.plan."""

    choices: dict[str, Any]
    peers: Sequence[str] | None = None  # None: all of them
    cpu_level: str | None = None  # forced to this instruction set, in a process of its own


def group(op: str, shape: str, peers: Sequence[str] | None = None, cpu_level: str | None = None, **more: Any) -> Group:
    """The words are split: shape="1080p 4k"."""
    choices = {"op": [op], "shape": shape.split(), **more}
    return Group(choices, peers, cpu_level)


CPU = (
    group(WARP, "1080p features-960", threads=[2]),
    group(WARP, "1080p features-448", LIGHT, threads=[1]),
    group(WARP, "4k features-448 training", LIGHT, threads=[2]),
    group(WARP, "features-448", LIGHT, threads=[2], layout=["channels_last"]),
    group(WARP, "1080p features-448", LIGHT, threads=[2], dtype=HALF),
    group(WARP, "1080p features-448", LIGHT, threads=[2], mode=["backward"]),
    group("backward_warp-zeros", "1080p features-448", LIGHT, threads=[2]),
    group("warp_blend", "1080p", threads=[2]),
    group("warp_blend", "1080p", LIGHT, threads=[2], mode=["backward"]),
    group(SOFTMAX, "1080p features-448", threads=[2]),
    group(SOFTMAX, "1080p features-448", threads=[2], mode=["both"]),
    group(SOFTMAX, "1080p", ["index_add*"], threads=[2], flow=["noise", "zoom-out"]),
    group(SOFTMAX, "1080p features-448", ["index_add*"], threads=[1]),
    group(SOFTMAX, "1080p", ["index_add*"], threads=[2], dtype=HALF),
    group(WIDE, "1080p features-448", threads=[2]),
    group("splat-average", "1080p", ["index_add*"], threads=[2]),
    group(WARP, "1080p features-448", ["RIFE"], "avx2", threads=[2]),
    group(WARP, "1080p features-448 features-960", ["RIFE"], "baseline", threads=[2]),
)

CUDA = (
    group(WARP, "1080p 4k features-960", device="cuda", dtype=["float32", "float16"]),
    group(WARP, "1080p features-448", LIGHT, device="cuda", mode=["backward"]),
    group("warp_blend", "1080p 4k", device="cuda", dtype=["float32", "float16"]),
    group(SOFTMAX, "1080p features-448 features-960", device="cuda", dtype=["float32", "float16"]),
    group(SOFTMAX, "1080p", ["index_add*"], device="cuda", flow=["zoom-out", "point"]),
    group(SOFTMAX, "1080p features-448", ["index_add*"], device="cuda", mode=["both"]),
)


def faster_than(peer: str) -> Callable[[dict], float | None]:
    return lambda row: row["times_faster"].get(peer)


def faster_than_all(row: dict) -> float | None:
    """Against the fastest peer, also one whose result is wrong."""
    return min(row["times_faster"].values(), default=None)


def times_floor(row: dict) -> float | None:
    return row["times_floor"]


def microseconds(row: dict) -> float:
    return 1000 * row["timings"]["ours"]["median_ms"]


@dataclass(frozen=True)
class Goal:
    """`figure` of every row that has the values of `where` must be at least (or at most) `required`."""

    text: str
    where: dict[str, Any]
    figure: Callable[[dict], float | None]
    required: float
    at_most: bool = False
    unit: str = "x"

    def judge(self, rows: Iterable[dict]) -> dict[str, Any]:
        """The worst figure of the matching rows; `met` is None where nothing was measured."""
        matching = [row for row in rows if all(row[name] == value for name, value in self.where.items())]
        figures = [value for value in map(self.figure, matching) if value is not None]
        return judged(self, (max if self.at_most else min)(figures) if figures else None)


@dataclass(frozen=True)
class ImportGoal:
    """Seconds that importing vfi_kernels may take after torch."""

    text: str = "import of vfi_kernels beyond torch's own"
    required: float = 0.3
    at_most: bool = field(default=True, init=False)
    unit: str = field(default=" s", init=False)


def judged(goal: Goal | ImportGoal, reached: float | None) -> dict[str, Any]:
    met = None if reached is None else reached <= goal.required if goal.at_most else reached >= goal.required
    words = "at most" if goal.at_most else "at least"
    return {"text": goal.text, "required": f"{words} {goal.required:g}{goal.unit}", "reached": reached, "unit": goal.unit, "met": met}


def _row(case: str, shape: str, level: str | None = None, **more: Any) -> dict[str, Any]:
    where = {"case": case, "shape": shape, "dtype": "float32", "layout": "nchw", "mode": "forward", "flow": "smooth"}
    return {**where, "threads": 2, "level_forced": level, **more}


TINY = _row(WARP, "1x3x4x4", threads=1, recording="inference_mode")
CPU_GOALS = (
    Goal("warp 3 ch 1080p, 2 threads, against RIFE's", _row(WARP, "1080p"), faster_than("RIFE"), 3.0),
    Goal("the same, against grid_sample", _row(WARP, "1080p"), faster_than("grid_sample"), 2.5),
    Goal("warp 3 ch 1080p, 1 thread, against RIFE's", _row(WARP, "1080p", threads=1), faster_than("RIFE"), 2.5),
    Goal("the same, against grid_sample", _row(WARP, "1080p", threads=1), faster_than("grid_sample"), 1.6),
    Goal("warp 64 ch 540x960, against RIFE's", _row(WARP, "features-960"), faster_than("RIFE"), 4.5),
    Goal(
        "warp gradients 64 ch 256x448, against grid_sample",
        _row(WARP, "features-448", mode="backward"),
        faster_than("grid_sample"),
        5.0,
    ),
    Goal("warp gradients 3 ch 1080p, against grid_sample", _row(WARP, "1080p", mode="backward"), faster_than("grid_sample"), 3.0),
    *(
        Goal(f"warp {size}, {half}, against our float32", _row(WARP, shape, dtype=half), faster_than("ours float32"), 1.0)
        for shape, size in (("1080p", "3 ch 1080p"), ("features-448", "64 ch 256x448"))
        for half in HALF
    ),
    Goal("warp 3 ch 1080p forced to avx2, against RIFE's", _row(WARP, "1080p", "avx2"), faster_than("RIFE"), 2.0),
    Goal("warp 64 ch 256x448 forced to avx2, against RIFE's", _row(WARP, "features-448", "avx2"), faster_than("RIFE"), 2.0),
    *(
        Goal(f"warp {size} forced to baseline, against RIFE's", _row(WARP, shape, "baseline"), faster_than("RIFE"), 1.0)
        for shape, size in (("1080p", "3 ch 1080p"), ("features-448", "64 ch 256x448"), ("features-960", "64 ch 540x960"))
    ),
    Goal("softmax splat 3 ch 1080p, against the best torch", _row(SOFTMAX, "1080p"), faster_than_all, 12.0),
    Goal("softmax splat 64 ch 256x448, against the best torch", _row(SOFTMAX, "features-448"), faster_than_all, 15.0),
    Goal("softmax splat 3 ch 1080p, times the floor", _row(SOFTMAX, "1080p"), times_floor, 4.0, at_most=True),
    Goal("softmax splat 64 ch 256x448, times the floor", _row(SOFTMAX, "features-448"), times_floor, 4.0, at_most=True),
    Goal("softmax splat 3 ch 1080p, metrics spanning 1000, against the best torch", _row(WIDE, "1080p"), faster_than_all, 7.0),
    Goal("softmax splat 64 ch 256x448, metrics spanning 1000, the same", _row(WIDE, "features-448"), faster_than_all, 10.0),
    Goal("softmax splat forward and backward, 3 ch 1080p", _row(SOFTMAX, "1080p", mode="both"), faster_than_all, 12.0),
    Goal("softmax splat forward and backward, 64 ch 256x448", _row(SOFTMAX, "features-448", mode="both"), faster_than_all, 12.0),
    Goal("a call of backward_warp on 4x4 images, inference_mode", TINY, microseconds, 5.0, at_most=True, unit=" us"),
)


def judge_all(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Every goal of the CPU, with what the document reached."""
    found = [goal.judge(document["rows"]) for goal in CPU_GOALS]
    imports = document["imports"]
    return [*found, judged(ImportGoal(), imports and imports["vfi_kernels_s"])]
