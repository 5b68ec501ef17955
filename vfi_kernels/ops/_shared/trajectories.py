"""What the ops along trajectories have in common: taus and knots as the ops take them, checks, shapes."""

import reprlib
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from vfi_kernels._arguments import (
    NUMBERS,
    expect,
    expect_bool,
    expect_choice,
    expect_device,
    expect_floating,
    expect_number,
    shape,
)
from vfi_kernels._options import BOUNDARIES
from vfi_kernels._tracing import of_this_size
from vfi_kernels._types import Options

UNIFORM = 1e-4  # of a step: as far as a knot may be from its place


def check_trajectory(op: str, keyframes: Tensor, taus: Tensor, size: Sequence[int], step: float, boundary: str) -> None:
    """Raises unless keyframes are (B, 2 K, h, w) and taus (B, T, 1, 1) or (B, T, *size): as the schemas take them."""
    fits = keyframes.dim() == 4 and keyframes.shape[1] >= 2 and keyframes.shape[1] % 2 == 0
    expect(fits, op, "keyframe_flows of shape (B, 2 K, H, W) with K >= 1", shape(keyframes))
    expect_floating(op, "keyframe_flows", keyframes)
    fits = taus.dim() == 4 and taus.shape[0] == keyframes.shape[0]
    fits = fits and (tuple(taus.shape[2:]) == (1, 1) or tuple(taus.shape[2:]) == tuple(size))
    expected = f"taus of shape (B, T, 1, 1) or (B, T, {size[0]}, {size[1]}) with B = {keyframes.shape[0]}"
    expect(fits, op, expected, shape(taus))
    expect_floating(op, "taus", taus)
    expect_device(op, "taus", taus, keyframes, "keyframe_flows")
    expect_choice(op, "boundary", boundary, BOUNDARIES)
    expect(step > 0, op, "knots that increase", step)
    empty = keyframes.shape[2] * keyframes.shape[3] == 0 and keyframes.shape[0] * size[0] * size[1] > 0
    expect(not empty, op, "keyframe_flows with at least one pixel where the output has any", shape(keyframes))


def flat_keyframes(op: str, keyframe_flows: Tensor, image: Tensor | None = None, owner: str = "") -> Tensor:
    """(B, K, 2, h, w) -> (B, 2 K, h, w), of as many samples as `image`, which the caller's argument `owner` is."""
    expect(isinstance(keyframe_flows, Tensor), op, "keyframe_flows to be a tensor", type(keyframe_flows).__name__)
    fits = keyframe_flows.dim() == 5 and keyframe_flows.shape[2] == 2 and keyframe_flows.shape[1] >= 1
    expect(fits, op, "keyframe_flows of shape (B, K, 2, H, W) with K >= 1", shape(keyframe_flows))
    if image is not None and keyframe_flows.shape[0] != image.shape[0]:
        expect(False, op, f"keyframe_flows with B = {image.shape[0]} as {owner} has", shape(keyframe_flows))
    return of_this_size(keyframe_flows.flatten(1, 2), 1)


def check_curve(op: str, a: float, boundary: str, extrapolate: bool) -> None:
    expect_number(op, "a", a)
    expect_choice(op, "boundary", boundary, BOUNDARIES)
    expect_bool(op, "extrapolate", extrapolate)


def on_knots(
    op: str,
    taus: Tensor | float | Sequence[float],
    knots: Tensor | Sequence[float] | None,
    keyframes: Tensor,
    size: Sequence[int],
) -> tuple[Tensor, float, float]:
    """taus as (B, T, 1, 1) or (B, T, *size), and first knot and step of the line that they are on.

    Numbers are counted from the first knot on, in double precision, and then are float32, or the keyframes' float64:
    where knots are seconds since 1970 float32 has steps of two minutes."""
    first, step = knot_line(op, knots, keyframes.shape[1] // 2)
    if not isinstance(taus, Tensor):
        taus, first = _counted(op, taus, first, keyframes), 0.0
    b = keyframes.shape[0]
    expected = f"taus of shape (T,), (B, T) or (B, T, H, W) with B = {b} and (H, W) = {tuple(size)}"
    if taus.dim() == 4:
        expect(taus.shape[0] == b and tuple(taus.shape[2:]) == tuple(size), op, expected, shape(taus))
        return taus, first, step
    expect(taus.dim() in (1, 2) and (taus.dim() == 1 or taus.shape[0] == b), op, expected, shape(taus))
    return taus.expand(b, taus.shape[-1])[:, :, None, None], first, step


def _counted(op: str, taus: float | Sequence[float], first: float, keyframes: Tensor) -> Tensor:
    """Numbers, or an array of numbers, from `first` on. Nothing is copied to a GPU for numbers, which a CUDA graph does
    not allow."""
    wide = torch.float64 if keyframes.dtype == torch.float64 else torch.float32
    numbers = list(taus) if isinstance(taus, Sequence) else [taus]
    if all(isinstance(v, NUMBERS) and not isinstance(v, bool) for v in numbers):
        place: Options = {"dtype": wide, "device": keyframes.device}
        return torch.cat([torch.empty(0, **place), *(torch.full((1,), v - first, **place) for v in numbers)])
    if not hasattr(taus, "__array__") or getattr(getattr(taus, "dtype", None), "kind", "?") not in "fiu":
        expect(False, op, "taus to be a tensor or numbers", reprlib.repr(taus))
    return (torch.tensor(taus, dtype=torch.float64) - first).to(keyframes.device, wide)


def knot_line(op: str, knots: Tensor | Sequence[float] | None, count: int) -> tuple[float, float]:
    """First knot and step of `count` uniform knots; None is linspace(0, 1, count)."""
    if knots is None:
        return 0.0, 1.0 / max(count - 1, 1)
    if isinstance(knots, Tensor) and not knots.is_cpu:
        captured = torch.cuda._is_compiled() and torch.cuda.is_current_stream_capturing()
        place = "as numbers or on the CPU while a CUDA graph is captured" if captured else "that have values"
        expect(not captured and not knots.is_meta, op, f"knots {place}", f"knots on {knots.device}")
    listed = isinstance(knots, Sequence) and not isinstance(knots, str)
    times = list(knots) if listed else knots.tolist() if hasattr(knots, "tolist") else knots
    if (
        not isinstance(times, list)
        or len(times) != count
        or not all(isinstance(v, Real) and not isinstance(v, bool) for v in times)
    ):
        expect(False, op, f"{count} knots, one per keyframe", reprlib.repr(times))
    first = float(times[0])
    step = (float(times[-1]) - first) / (count - 1) if count > 1 else 1.0
    uniform = step > 0 and all(abs(float(v) - first - n * step) <= UNIFORM * step for n, v in enumerate(times))
    if not uniform or first - first != 0:
        expect(False, op, "knots that increase in equal steps", reprlib.repr(times))
    return first, step
