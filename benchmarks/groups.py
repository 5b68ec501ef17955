"""What is measured for the record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vfi_kernels.testing import load_cases

WARP = "backward_warp-border"
PLANES = "scatter_add planes"
SOFTMAX, WIDE = "splat-softmax", "splat-softmax-wide"  # metrics that span about 50, and more than 1000
PLAIN = ("loop over*", "unfold", "bmm of rows")  # peers of correlation that start at once
HALF = ("float16", "bfloat16")
LAYOUTS = ("nchw", "channels_last")
DEFORM, DEFORM_8, DEFORM_GROUPS = (f"modulated_deform_conv2d-{end}" for end in ("4", "8", "groups"))
DENSE = ("dense conv2d", "dense conv2d, channels_last")  # of the same size, with groups 1: the floor of the product
WITH_TORCH, WITH_GATHERS = "grid_sample and product", "gathers and product"
LORA, LINEAR, SEVEN = "mixture_lora-one", "linear without adapters", "seven adapters"
TRAJECTORY, IN_STEPS = "einsum, F.interpolate and RIFE's warp", "sample_trajectory and backward_warp"
SIZES = "1x3x270x480 1x3x540x960 1x3x720x1280"  # beside 1080p and 4k: time against resolution
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


def with_every_op(groups: Sequence[Group], **more: Any) -> tuple[Group, ...]:
    """And the first large shape of a case of each op that no group names."""
    cases = load_cases()
    named = {cases[name].op if name in cases else name for g in groups for name in g.choices["op"]}
    others = {c.op: c for c in reversed(cases.values()) if c.large and c.op not in named}
    return (*groups, *(group(c.name, next(iter(c.large)), **more) for c in others.values()))


BOTH = ((DEFORM, "features-112"), (DEFORM_8, "features-56"))
THREE = (*BOTH, (DEFORM, "features-256"))
CPU: tuple[Group, ...] = (
    group(WARP, "1080p features-960", threads=[2]),
    group(WARP, "1080p features-448", LIGHT, threads=[1]),
    group(WARP, "4k features-448 training", LIGHT, threads=[2]),
    group(WARP, "features-448", LIGHT, threads=[2], layout=["channels_last"]),
    group(WARP, "1080p features-448", LIGHT, threads=[2], dtype=HALF),
    group(WARP, "1080p features-448", LIGHT, threads=[2], mode=["backward"]),
    group("backward_warp-zeros", "1080p features-448", LIGHT, threads=[2]),
    group(WARP, SIZES, LIGHT, threads=[2]),
    group("warp_blend", "1080p", threads=[2]),
    group("warp_blend", "1080p", LIGHT, threads=[2], mode=["backward"]),
    group(SOFTMAX, "1080p features-448", threads=[2]),
    group(SOFTMAX, f"{SIZES} 4k", ["index_add*", "scatter_add*"], threads=[2]),
    group(SOFTMAX, "1080p features-448", threads=[2], mode=["both"]),
    group(SOFTMAX, "1080p", ["index_add*"], threads=[2], flow=["noise", "zoom-out"]),
    group(SOFTMAX, "1080p features-448", ["index_add*"], threads=[1]),
    group(SOFTMAX, "1080p", ["index_add*"], threads=[2], dtype=HALF),
    group(WIDE, "1080p features-448", threads=[2]),
    group("splat-average", "1080p", ["index_add*"], threads=[2]),
    group("correlation", "features-448 features-160 features-64 features-16", threads=[2]),
    group("correlation", "features-448", PLAIN, threads=[1]),
    group("correlation", "features-448", PLAIN, threads=[2], mode=["backward"]),
    group("correlation", "features-448", PLAIN, threads=[2], dtype=HALF),
    group("correlation-far", "flownet", PLAIN, threads=[2]),
    group("correlation-l1", "features-448", PLAIN, threads=[2]),
    *(group(op, "vimeo", threads=[2], mode=["forward", "backward"]) for op in ("adacof", "sepconv")),
    group("trajectory_warp-24", "576p 1080p", threads=[2]),
    group("trajectory_splat-softmax", "576p", threads=[2]),
    group("sample_trajectory-keys", "576p", threads=[2]),
    group(DEFORM, "features-112 features-256", threads=[2], flow=["noise"]),
    group(DEFORM_8, "features-56 features-448", threads=[2], flow=["noise"]),
    group(DEFORM_GROUPS, "features-112", threads=[2], flow=["noise"]),
    *(group(op, shape, DENSE, threads=[2], flow=["noise"], dtype=HALF) for op, shape in THREE),
    *(
        group(op, shape, [WITH_TORCH, WITH_GATHERS], threads=[2], flow=["noise"], mode=["backward"])
        for op, shape in BOTH
    ),
    group(LORA, "attention text", threads=[2], dtype=["float32", "bfloat16"]),
    group(LORA, "attention", [LINEAR, SEVEN, "two adapters"], threads=[2], mode=["backward"]),
    group("mixture_lora-segments", "attention", threads=[2]),
    group("patch_gather-64", "2k", threads=[2], layout=LAYOUTS),
    group("patch_scatter-64", "2k", threads=[2], layout=LAYOUTS),
    group("routed_conv2d-64", "2k 2k-64 2k-96", threads=[2], layout=LAYOUTS),
    group("routed_conv2d-64", "2k-64", threads=[2], mode=["backward"], layout=["channels_last"]),
    group(WARP, "1080p features-448", ["RIFE"], "avx2", threads=[2]),
    group(SOFTMAX, "1080p", [PLANES], "avx2", threads=[2]),
    group(DEFORM, "features-112", [WITH_GATHERS], "avx2", threads=[2], flow=["noise"]),
    group(WARP, "1080p features-448 features-960", ["RIFE"], "baseline", threads=[2]),
)
CPU = with_every_op(CPU, threads=[2])

CUDA: tuple[Group, ...] = (
    group(WARP, "1080p 4k features-960", device="cuda", dtype=["float32", "float16"]),
    group(WARP, "1080p features-448", LIGHT, device="cuda", mode=["backward"]),
    group("warp_blend", "1080p 4k", device="cuda", dtype=["float32", "float16"]),
    group(SOFTMAX, "1080p features-448 features-960", device="cuda", dtype=["float32", "float16"]),
    group(SOFTMAX, "1080p", ["index_add*"], device="cuda", flow=["zoom-out", "point"]),
    group(SOFTMAX, "1080p features-448", ["index_add*"], device="cuda", mode=["both"]),
    group("trajectory_warp-24", "576p 1080p", device="cuda", dtype=["float32", "float16"]),
    group("trajectory_splat-softmax", "576p", device="cuda"),
    group("correlation", "features-448 features-64", PLAIN, device="cuda", dtype=["float32", "float16"]),
    group("correlation", "features-448", PLAIN, device="cuda", mode=["backward"]),
    group(DEFORM, "features-112 features-256", device="cuda", dtype=["float32", "float16"]),
    group(DEFORM_8, "features-56 features-448", device="cuda", dtype=["float32", "float16"]),
    group(DEFORM, "features-112", device="cuda", dtype=["float16"], layout=["channels_last"]),
    group(DEFORM, "features-112", device="cuda", mode=["backward"], dtype=["float32", "float16"]),
    group(LORA, "attention text", device="cuda", dtype=["float32", "bfloat16"]),
    group(LORA, "attention", device="cuda", mode=["backward"], dtype=["float32", "bfloat16"]),
    group("mixture_lora-segments", "attention text", device="cuda", dtype=["float32", "bfloat16"]),
    *(group(f"patch_{way}-64", "2k", device="cuda", dtype=["float32", "float16"]) for way in ("gather", "scatter")),
    group("routed_conv2d-64", "2k 2k-64 2k-96", device="cuda", dtype=["float32", "float16"], layout=LAYOUTS),
    group("routed_conv2d-64", "2k-64", device="cuda", mode=["backward"], dtype=["float32", "float16"]),
)
CUDA = with_every_op(CUDA, device="cuda")
