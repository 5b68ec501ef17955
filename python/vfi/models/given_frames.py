"""Frames as people have them: numpy, PIL or torch, with channels anywhere, in any depth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from vfi.errors import ArgumentError, dtype_name, require

Layout = Literal["HW", "HWC", "CHW", "BHWC", "BCHW"]
Frame = TypeVar("Frame")
_CHANNELS = (1, 3, 4)
_MODES = {"L": np.uint8, "LA": np.uint8, "RGB": np.uint8, "RGBA": np.uint8, "I;16": np.uint16}
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_DTYPES = ("uint8", "uint16", *_FLOATS)
_BEYOND = 0.25  # what sharpening leaves outside of [0, 1]; more is another range


@dataclass(frozen=True)
class Form:
    """What two frames have in common, and so their results. mode: of PIL."""

    kind: Literal["numpy", "PIL", "torch"]
    layout: Layout
    dtype: str
    device: torch.device | None = None
    mode: str = ""

    def planes(self, frame: object, device: str) -> Tensor:
        """A frame as (B, 3 or 4, H, W) in float32, new memory.

        Raises:
            ArgumentError: if a number is not finite, or float frames have another range than [0, 1].
        """
        values = frame if isinstance(frame, Tensor) else torch.from_numpy(_native(frame))
        values = values.detach().to(device, torch.float32, copy=True)
        if self.dtype in _FLOATS:
            _check_range(values)
        else:
            values.div_(_most(self.dtype))
        planes = _to_planes(values, self.layout)
        gray, alpha = (planes[:, :1], planes[:, 1:]) if planes.shape[1] < 3 else (None, None)
        if gray is not None and alpha is not None:
            planes = torch.cat([gray.expand(-1, 3, -1, -1), alpha], 1)
        return planes.contiguous()

    def like(self, planes: Tensor, frame: Frame) -> Frame:
        """The same of (B, 3 or 4, H, W) in float32, as a result like `frame`."""
        channels = _channels(frame, self)
        if channels < 3:
            planes = torch.cat([planes[:, :3].mean(1, keepdim=True), planes[:, 3:]], 1)
        values = _from_planes(planes, self.layout)
        if self.dtype not in _FLOATS:
            values = values.clamp(0, 1).mul(_most(self.dtype)).round()
        if self.kind == "torch":
            made = values.to(self.device, getattr(torch, self.dtype)).contiguous()
            return made  # type: ignore[return-value]
        numbers = np.ascontiguousarray(values.cpu().numpy().astype(self.dtype))
        if self.kind == "PIL":
            picture = require("PIL.Image").fromarray(numbers)
            return picture  # type: ignore[no-any-return]
        return numbers.astype(frame.dtype)  # type: ignore[attr-defined, return-value]


def form_of(frame0: object, frame1: object, layout: Layout | None = None) -> Form:
    """
    Args:
        layout: where the shape does not tell it.

    Raises:
        ArgumentError: if they are no frames, are not alike, or their shape may mean several things.
    """
    if layout is not None and layout not in get_args(Layout):
        raise ArgumentError(f"expected `layout` {', '.join(get_args(Layout))}, got {layout!r}")
    first, second = (_form(frame, layout) for frame in (frame0, frame1))
    if first.kind != second.kind:
        raise ArgumentError(f"expected two frames of one kind, got {first.kind} and {second.kind}")
    told = [_told(frame) for frame in (frame0, frame1)]
    if told[0] != told[1]:
        raise ArgumentError(f"expected two frames of one shape and type, got {told[0]} and {told[1]}")
    if first.device != second.device:
        raise ArgumentError(f"expected two frames on one device, got {first.device} and {second.device}")
    return first


def copied(frame: Frame) -> Frame:
    """New memory, the same values."""
    copy: Callable[[], Frame] = frame.detach().clone if isinstance(frame, Tensor) else frame.copy  # type: ignore
    return copy()


def _form(frame: object, layout: Layout | None) -> Form:
    if isinstance(frame, Tensor):
        if frame.is_nested or frame.layout is not torch.strided or frame.is_meta:
            told = "a nested tensor" if frame.is_nested else _told(frame)
            raise ArgumentError(f"expected frames that have values in strides, got {told}")
        return Form("torch", _layout(frame, layout), _dtype(dtype_name(frame.dtype)), frame.device)
    if isinstance(frame, np.ndarray):
        return Form("numpy", _layout(frame, layout), _dtype(frame.dtype.name))
    if not _is_picture(frame):
        expected = "frames to be numpy arrays, PIL images or torch tensors"
        raise ArgumentError(f"expected {expected}, got {type(frame).__name__}")
    mode = str(frame.mode)  # type: ignore[attr-defined]
    if mode not in _MODES:
        raise ArgumentError(f"expected a picture of mode {', '.join(_MODES)}, got {mode}: convert it first")
    if 0 in frame.size:  # type: ignore[attr-defined]
        raise ArgumentError("expected frames with pixels, got a picture without")
    if layout is not None:
        raise ArgumentError("`layout` is for arrays and tensors: a picture has its own")
    return Form("PIL", "HW" if mode in ("L", "I;16") else "HWC", np.dtype(_MODES[mode]).name, mode=mode)


def _is_picture(frame: object) -> bool:
    """Without loading PIL for arrays."""
    known = any(each.__module__.partition(".")[0] == "PIL" for each in type(frame).__mro__)
    return known and isinstance(frame, require("PIL.Image").Image)


def _layout(frame: "np.ndarray | Tensor", layout: Layout | None) -> Layout:
    """The one that is given, or the only one that the shape can mean."""
    shape = tuple(frame.shape)
    if 0 in shape:
        raise ArgumentError(f"expected frames with pixels, got {_told(frame)}")
    fitting = [each for each in get_args(Layout) if _fits(shape, each)]
    if layout is not None:
        fitting = [layout] if layout in fitting else []
    if not fitting:
        wanted = layout or ", ".join(get_args(Layout))
        raise ArgumentError(f"expected frames of shape {wanted} with 1, 3 or 4 channels, got {_told(frame)}")
    if len(fitting) > 1:
        raise ArgumentError(f"frames of shape {shape} may be {' or '.join(fitting)}: say which by `layout`")
    found: Layout = fitting[0]
    return found


def _fits(shape: tuple[int, ...], layout: str) -> bool:
    return len(shape) == len(layout) and ("C" not in layout or shape[layout.index("C")] in _CHANNELS)


def _dtype(name: str) -> str:
    if name not in _DTYPES:
        raise ArgumentError(f"expected frames of {', '.join(_DTYPES)}, got {name}")
    return name


def _told(frame: object) -> str:
    """Shape and type, in words."""
    if isinstance(frame, (Tensor, np.ndarray)):
        name = dtype_name(frame.dtype) if isinstance(frame, Tensor) else frame.dtype.name
        return f"{tuple(frame.shape)}, {name}"
    width, height = frame.size  # type: ignore[attr-defined]
    return f"{width}x{height}, {frame.mode}"  # type: ignore[attr-defined]


def _channels(frame: object, form: Form) -> int:
    if form.kind == "PIL":
        return len(form.mode) if form.mode != "I;16" else 1
    return frame.shape[form.layout.index("C")] if "C" in form.layout else 1  # type: ignore[attr-defined]


def _native(frame: object) -> np.ndarray:
    """Memory that torch takes: in this machine's order of bytes, without negative steps."""
    numbers = np.asarray(frame)
    return np.array(numbers, numbers.dtype.newbyteorder("="), order="C")


def _most(dtype: str) -> int:
    return int(np.iinfo(dtype).max)


def _check_range(values: Tensor) -> None:
    least, most = (float(each) for each in values.aminmax())
    if not (np.isfinite(least) and np.isfinite(most)):
        raise ArgumentError("expected frames of finite numbers, got some that are infinite or not a number")
    if least < -_BEYOND or most > 1 + _BEYOND:
        raise ArgumentError(f"expected frames of floats in [0, 1], got {least:g} to {most:g}: divide them first")


def _to_planes(values: Tensor, layout: Layout) -> Tensor:
    if layout == "HW":
        return values[None, None]
    batch = values if "B" in layout else values[None]
    return batch.permute(0, 3, 1, 2) if layout.endswith("C") else batch


def _from_planes(planes: Tensor, layout: Layout) -> Tensor:
    if layout == "HW":
        return planes[0, 0]
    batch = planes.permute(0, 2, 3, 1) if layout.endswith("C") else planes
    return batch if "B" in layout else batch[0]
