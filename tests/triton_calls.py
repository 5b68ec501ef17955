"""What Triton kernels there are, and calls that together launch every one of them. Sets no interpreter mode."""

import ast
import importlib
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from compare import gradients, make_cotangents
from op_calls import RecordOps, first_cases
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels._options import Cost, with_words
from vfi_kernels.ops.adacof import triton_kernels as collaborating
from vfi_kernels.ops.backward_warp import triton_kernels as warp
from vfi_kernels.ops.correlation import triton_kernels as matching
from vfi_kernels.ops.mixture_lora import triton_kernels as adapting
from vfi_kernels.ops.modulated_deform_conv2d import triton_kernels as deforming
from vfi_kernels.ops.patches import triton_kernels as patching
from vfi_kernels.ops.routed_conv2d import triton_kernels as routing
from vfi_kernels.ops.sample_trajectory import triton_kernels as sampling
from vfi_kernels.ops.splat import triton_kernels as splatting
from vfi_kernels.ops.trajectory_splat import triton_kernels as moving
from vfi_kernels.ops.trajectory_warp import triton_kernels as travelling
from vfi_kernels.ops.warp_blend import triton_kernels as blend
from vfi_kernels.testing import map_tensors

PACKAGE = Path(__file__).resolve().parents[1] / "vfi_kernels"
LAYOUTS = {"planes": torch.contiguous_format, "channels_last": torch.channels_last}


HANDLED = (
    collaborating,
    warp,
    matching,
    adapting,
    deforming,
    patching,
    routing,
    sampling,
    splatting,
    moving,
    travelling,
    blend,
)
BY_HAND = {module.__name__ for module in HANDLED}


def jit_functions() -> dict[str, ast.FunctionDef]:
    """Every function of the package under @triton.jit; those that are launched end in _kernel, others are helpers."""
    functions = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and "triton.jit" in map(ast.unparse, node.decorator_list):
                assert node.name not in functions, f"two Triton functions are called {node.name}"
                functions[node.name] = node
    return functions


def kernel_names() -> set[str]:
    return {name for name in jit_functions() if name.endswith("_kernel")}


class Calls:
    """The ops' Triton functions on zeros of one dtype, layout and size."""

    def __init__(self, dtype: torch.dtype, layout: str = "planes", size: tuple[int, int] = (16, 32), channels: int = 3):
        self.image = torch.zeros(1, channels, *size, dtype=dtype).contiguous(memory_format=LAYOUTS[layout])
        self.flow = torch.zeros(1, 4, *size, dtype=torch.promote_types(dtype, torch.float32))
        self.metric = torch.zeros(1, 1, *size, dtype=dtype)

    def warps(self, deterministic: bool, padding: str = "border") -> None:
        warp.backward_warp(self.image, self.flow[:, :2], padding)
        warp.backward_warp_grad(self.image, self.image, self.flow[:, :2], padding, deterministic, True, True)

    def blends(self, deterministic: bool) -> None:
        arguments = (self.image, self.image, self.flow, self.metric)
        blend.warp_blend(*arguments)
        blend.warp_blend_grad(self.image, *arguments, deterministic, True, True, True, True)

    def correlates(self, radius: int = 1, window: int = 1, stride: int = 1, cost: Cost = "dot") -> None:
        both_axes = [n for n in (radius, window, stride, window // 2, 1, stride) for _ in "yx"]
        options = (both_axes, True, cost)
        out = matching.correlation(self.image, self.image, *options)
        matching.correlation_grad(out, self.image, self.image, *options, True, True)

    def collaborates(self, deterministic: bool) -> None:
        """2 x 2 taps, of an image as large as its result and one more row and column."""
        image, flow = self.image, self.flow[..., 1:, 1:]
        out = collaborating.adacof(image, flow, flow, flow, 1)
        collaborating.adacof_grad(out, image, flow, flow, flow, 1, deterministic, True, True, True, True)

    def adapts(self, packed: bool, tf32: bool = False) -> None:
        """A layer that keeps the features: with an expert for each of two segments, or with one and biases."""
        x, n = self.image, self.image.shape[3]
        a, b = x.new_zeros(3, 2, n), x.new_zeros(3, n, 2)
        bias, a_bias, b_bias = (None if packed else t[..., 0] for t in (a.new_zeros(n, 1), a, b))
        tokens = x.shape[:-1].numel()
        place = (0, torch.tensor([2, 1]), torch.tensor([0, tokens // 2, tokens])) if packed else (2, None, None)
        out = adapting.mixture_lora(x, x.new_zeros(n, n), bias, a, b, a_bias, b_bias, *place, tf32)
        needs = (True, False, False, True, True, not packed, not packed)
        adapting.mixture_lora_grad(out, x, x.new_zeros(n, n), a, b, a_bias, *place, tf32, *needs)

    def deforms(
        self, deterministic: bool, parts: int = 1, activation: str = "prelu", masked: bool = True, tf32: bool = False
    ) -> None:
        """A 2x1 convolution that keeps the channels, in `parts` conv and offset groups."""
        c, h = self.image.shape[1:3]
        slopes = self.image[0, :, 0, 0].contiguous() if activation == "prelu" else None
        moves, mask = self.flow.repeat(1, parts, 1, 1), self.metric.repeat(1, 2 * parts, 1, 1)
        weight = self.image.new_zeros(c, c // parts, 2, 1)
        weight = weight.contiguous(memory_format=torch.channels_last) if self.image.stride(1) == 1 else weight
        same = (self.image, moves[..., : h - 1, :], mask[..., : h - 1, :] if masked else None, weight)
        place = ([1, 1], [0, 0], [1, 1], parts, parts)
        out = deforming.modulated_deform_conv2d(*same, slopes, *place, activation, slopes, "mmcv", tf32)
        deforming.modulated_deform_conv2d_grad(out, *same, *place, "mmcv", tf32, deterministic, *[True] * 5)

    def samples(self, count: int = 4, boundary: str = "keys", enlarge: int = 2, per_pixel: bool = False) -> None:
        """`count` keyframes at two taus, on a grid `enlarge` times as fine, and the velocity there."""
        keyframes, (h, w) = self.image[:, :1].expand(-1, 2 * count, -1, -1).contiguous(), self.image.shape[2:]
        size = (h * enlarge, w * enlarge)
        taus = self.flow.new_zeros(1, 2, *(size if per_pixel else (1, 1)))
        for derivative in (False, True):
            curve = (*size, 0.0, 0.25, -0.5, boundary, per_pixel, derivative)
            out = sampling.sample_trajectory(keyframes, taus, *curve)
            sampling.sample_trajectory_grad(out, keyframes, taus, *curve, True, True)

    def travels(self, deterministic: bool, mode: str = "softmax", count: int = 5, per_pixel: bool = False) -> None:
        """Warps and splats along `count` keyframes at two taus; keyframes that pixels do not share are enlarged."""
        h, w = self.image.shape[2:]
        low = (h, w) if per_pixel else (h // 2, w // 2)
        keyframes = self.flow[:, :1, : low[0], : low[1]].expand(-1, 2 * count, -1, -1).contiguous()
        taus = self.flow.new_zeros(1, 2, *((h, w) if per_pixel else (1, 1)))
        curve = (0.0, 0.25, -0.5, "keys", False)
        travelling.trajectory_warp(self.image, keyframes, taus, *curve, "zeros" if per_pixel else "border")
        metric = self.metric if mode in ("linear", "softmax") else None
        moving.trajectory_splat([self.image], keyframes, taus, metric, *curve, mode, "zero", True, deterministic)

    def listed(self) -> tuple[int, Tensor]:
        """A patch size, and a list with one row more than there are patches."""
        h, w = self.image.shape[2:]
        patch = math.gcd(h, w)
        route = torch.ones(1, h // patch, w // patch, dtype=torch.bool)
        return patch, patching.patch_indices(route, route.numel() + 1)[0]

    def patches(self, halo: int = 1) -> None:
        patch, indices = self.listed()
        last = self.image.stride(1) == 1
        out = patching.patch_gather(self.image, indices, patch, halo, None)
        patching.patch_gather_grad(out, indices, self.image.shape, patch, halo, last)
        inner = patching.patch_gather(self.image, indices, patch, 0, None)
        patching.patch_scatter_(inner, indices, patching.patch_scatter(inner, indices, self.image))
        patching.patch_scatter_grad(self.image, indices, patch, last, True, True)

    def routes(
        self, border: str = "image", transposed: bool = False, activation: str = "gelu", tf32: bool = False
    ) -> None:
        """A convolution that keeps the channels: 3x3, or transposed 4x4."""
        patch, indices = self.listed()
        c, h, w = self.image.shape[1:]
        side, stride = (4, 2) if transposed else (3, 1)
        weight = self.image.new_zeros(c, c, side, side)
        base = self.image.new_empty(1, c, h * stride, w * stride)
        base = base.contiguous(memory_format=torch.channels_last) if self.image.stride(1) == 1 else base
        slopes = self.image[0, :, 0, 0].contiguous() if activation == "prelu" else None
        place = (indices, patch, stride, transposed, border)
        out = routing.routed_conv2d(self.image, weight, None, *place, tf32)
        routing.routed_conv2d_(self.image, weight, slopes, *place, activation, slopes, 0.1, tf32, base)
        routing.routed_conv2d_grad(out, self.image, weight, *place, tf32, True, True, True)

    def splats(self, deterministic: bool, mode: str = "softmax", holes: str = "zero", inputs: int = 1) -> None:
        metric = self.metric if mode in ("linear", "softmax") else None
        x, flow = [self.image] * inputs, self.flow[:, :2]
        outs, weight, shift = splatting.splat(x, flow, metric, mode, holes, True, deterministic)
        grad_weight: Tensor | None = weight if inputs > 1 else None
        splatting.splat_grad(x, grad_weight, x, flow, metric, outs, weight, shift, mode, holes, False, True, True, True)

    def others(self) -> None:
        """Ops that have no calls above: the first case and its gradient."""
        layout = LAYOUTS["channels_last" if self.image.stride(1) == 1 else "planes"]
        for case in first_cases():
            if backends._triton_modules[case.op] in BY_HAND:
                continue
            made = case.make_inputs(*self.image.shape, dtype=self.image.dtype)
            made = map_tensors(lambda t: t.contiguous(memory_format=layout), made)
            calls: list = []
            cotangents = make_cotangents(case.call, made)
            with RecordOps(calls):
                gradients(case.call, made, cotangents)
            for name, arguments, _ in calls:
                op = name.split(".")[1]
                if not backends.ops()[op]:
                    function = getattr(importlib.import_module(backends._triton_modules[op]), op)
                    function(*with_words(op, arguments))


def launch_each(dtype: torch.dtype) -> None:
    """The least that launches every kernel."""
    c = Calls(dtype, size=(2, 3))
    c.warps(True)
    c.blends(False)
    c.correlates(window=2)
    c.collaborates(False)
    c.collaborates(True)
    c.adapts(False)
    c.deforms(True)
    c.samples()
    c.travels(False)
    c.patches()
    c.routes()
    c.splats(False)
    c.others()


def launch_all(announce: Callable[[torch.dtype], None], dtypes: Sequence[torch.dtype], first: bool = False) -> None:
    """Each dtype in both layouts, or the first; in float32 also every mode, rule, padding and the deterministic path,
    and this in float64, where that is among the dtypes."""
    for dtype, layout in itertools.product(dtypes, [*LAYOUTS][:1] if first else LAYOUTS):
        announce(dtype)
        c = Calls(dtype, layout, channels=3 if layout == "planes" else 16)
        c.warps(False)
        c.blends(False)
        c.correlates()
        c.correlates(window=2)
        c.collaborates(False)
        c.collaborates(True)
        c.adapts(layout == "planes")
        c.deforms(False)
        c.samples()
        c.travels(False)
        c.patches()
        c.routes()
        c.splats(False)
        c.others()
    for dtype in (*{torch.float64}.intersection(dtypes), torch.float32):
        announce(dtype)
        c = Calls(dtype, size=(5, 7))
        c.warps(True)
        c.blends(True)
        c.deforms(True)
        c.travels(True)
        c.splats(True)
    c.warps(False, "zeros")
    for count, boundary in ((1, "keys"), (2, "linear"), (2, "replicate"), (3, "linear"), (9, "replicate")):
        c.samples(count, boundary, 1, per_pixel=True)
        c.travels(False, "average", count, per_pixel=True)
    c.adapts(True, tf32=True)
    c.correlates(4)
    c.correlates(9)
    c.correlates(20)
    c.correlates(1, 3, 2)
    c.correlates(2, 3, 1, "l1")
    c.patches(0)
    c.splats(False, "sum")
    for mode, holes in (("average", "add"), ("linear", "clip"), ("softmax", "zero")):
        c.splats(False, mode, holes, inputs=2)
    for dtype in (torch.float16,) if first else (torch.float16, torch.float32):
        announce(dtype)
        c = Calls(dtype, channels=256)
        c.deforms(False, 8, "relu", tf32=True)
        c.deforms(False, 2, "none", masked=False)
        for padding_mode, transposed in itertools.product(("zeros", "image"), (False, True)):
            c.routes(padding_mode, transposed, "leaky_relu" if transposed else "prelu", tf32=padding_mode == "zeros")
