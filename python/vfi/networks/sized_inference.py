"""Frames between two frames with a network that wants certain sizes and, perhaps, knows the middle only."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set, Sized
from typing import Any, Literal, Protocol, SupportsFloat, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vfi.errors import ArgumentError, dtype_name
from vfi.networks.tiles import in_tiles
from vfi.options import converted, whole

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
SCALES = (0.25, 0.5, 1, 2, 4)
MOST_HALVINGS = 6  # a network for the middle reaches times to 1/128: nearer than a frame at 120 fps
Step = Callable[[Tensor, Tensor, float], Tensor]  # two frames and the time between them -> the frame


class SizedNetwork(Protocol):
    """A network between two frames whose height and width must be multiples of `multiple`, at scale 1; at others of
    `multiple` / scale, and never of less than `least_multiple`: what works beside the flow wants that."""

    multiple: int
    least_multiple: int

    @property
    def any_time(self) -> bool:
        """Whether it reaches any time; otherwise the middle alone."""

    def frame_at(self, frame0: Tensor, frame1: Tensor, timestep: float | Tensor, scale: float) -> Tensor: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


def interpolate(
    network: SizedNetwork,
    frame0: Tensor,
    frame1: Tensor,
    t: float | Sequence[float],
    scale: float = 1.0,
    tta: bool = False,
    tile: int | None = None,
) -> Any:
    """Frames at the times `t` between two frames.

    Args:
        frame0, frame1: (B, 3, H, W) in [0, 1], in the network's channel order; any size, any floating dtype.
        t: in [0, 1], or several; 0 and 1 return the frames themselves. A network that knows the middle only is
            applied to halves of halves: the time reached is within 1/128 of the one asked for.
        scale: at which flow is estimated: 1, 0.5 or 0.25 (for pictures above 2K, or large motion), or 2, 4.
        tta: also interpolate the pictures turned by 180 degrees, and average.
        tile: side of the squares, px, that larger pictures are cut into, which overlap by a quarter; made a multiple of
            what the network wants. Memory is then that of a square. Motion should stay below an eighth of it. None:
            the picture is one.

    Returns:
        (B, 3, H, W) of the frames' dtype, or a list of them.

    Raises:
        ArgumentError: if an argument is none of the above.
    """
    check_frames(frame0, frame1, next(network.parameters()).device)
    times, alone = times_of(t)
    between = Between(network, scale, tta, tile)
    size = frame0.shape[2:]
    padded = [pad(frame.to(next(network.parameters()).dtype), between.multiple) for frame in (frame0, frame1)]
    made: dict[float, Tensor] = {}
    results = []
    for time in times:
        if time in (0, 1):
            results.append((frame1 if time else frame0).clone())
            continue
        frame = between(padded[0], padded[1], time) if network.any_time else bisected(padded, time, made, between)
        results.append(frame[:, :, : size[0], : size[1]].to(frame0.dtype).contiguous())
    return results[0] if alone else results


class Between:
    """A network's frame between two whose size fits it; arguments as those of `interpolate`."""

    def __init__(self, network: SizedNetwork, scale: float, tta: bool, tile: int | None) -> None:
        check_settings(network, scale, tta, tile)
        self.network, self.scale, self.tta, self.tile = network, scale, tta, tile
        self.multiple = multiple_at(network, scale)

    def __call__(self, first: Tensor, second: Tensor, timestep: float) -> Tensor:
        frame = self.frame_at(first, second, timestep)
        if self.tta:
            turned = self.frame_at(first.flip(2, 3), second.flip(2, 3), timestep)
            frame = (frame + turned.flip(2, 3)) / 2
        return frame

    def frame_at(self, first: Tensor, second: Tensor, timestep: float) -> Tensor:
        if self.tile is None:
            return self.network.frame_at(first, second, timestep, self.scale)
        side = math.ceil(self.tile / self.multiple) * self.multiple
        return in_tiles(self.network.frame_at, (first, second), side, timestep, self.scale)


def traced(
    frame_at: Callable[..., Tensor], frame0: Tensor, frame1: Tensor, t: float | Tensor, scale: float, multiple: int
) -> Tensor:
    """`interpolate` at one time for torch.export, which may not know the size: zeros below and to the right, always.

    multiple: of which height and width must be at this scale.
    """
    height, width = frame0.shape[2:]
    # As products, of which torch sees that they can be divided; no negative number, which ONNX divides otherwise.
    below, right = ((n + multiple - 1) // multiple * multiple - n for n in (height, width))
    first, second = (F.pad(frame, (0, right, 0, below)) for frame in (frame0, frame1))
    return frame_at(first, second, t, scale)[:, :, :height, :width]


def check_settings(network: SizedNetwork, scale: float, tta: bool, tile: int | None) -> None:
    """As `interpolate` takes them."""
    if converted(float, scale) not in SCALES:
        raise ArgumentError(f"expected `scale` 0.25, 0.5, 1, 2 or 4, got {scale!r}")
    if not isinstance(tta, bool):
        raise ArgumentError(f"expected `tta` to be true or false, got {tta!r}")
    if tile is not None:
        least = 2 * multiple_at(network, scale)
        if whole("tile", tile, 1) < least:
            raise ArgumentError(f"expected `tile` to be at least {least} at scale {scale:g}, got {tile}")


def multiple_at(network: SizedNetwork, scale: float) -> int:
    """Of which height and width must be where flow is estimated at `scale`."""
    return max(round(network.multiple / scale), network.least_multiple)


def check_finite(*frames: Tensor) -> None:
    """For models whose every pixel depends on every other."""
    if not all(bool(frame.isfinite().all()) for frame in frames):
        raise ArgumentError("expected frames of finite numbers, got some that are infinite or not a number")


def times_of(t: Any) -> tuple[list[float], bool]:
    """Numbers in [0, 1] and whether it was a single one; arrays and tensors count as numbers."""
    try:
        if isinstance(t, (Mapping, Set)):
            raise TypeError("not in an order")
        alone = is_single(t)
        times = [number_of(time) for time in ([t] if alone else t)]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"expected `t` to be a number or several, got {t!r}") from error
    for time in times:
        if not 0 <= time <= 1:
            raise ArgumentError(f"expected `t` in [0, 1], got {time}")
    return times, alone


def time_of(t: object) -> float:
    """A single number in [0, 1]."""
    times, alone = times_of(t)
    if not alone:
        raise ArgumentError(f"expected `t` to be a number, got {t!r}")
    return times[0]


def several_times(times: object) -> list[float]:
    """Several numbers in [0, 1]."""
    numbers, alone = times_of(times)
    if alone:
        raise ArgumentError(f"expected `times` to be several numbers, got {times!r}")
    return numbers


def number_of(value: object) -> float:
    if isinstance(value, (bool, str, bytes)):
        raise TypeError("no number")
    return float(cast(SupportsFloat, value))


def is_single(t: object) -> bool:
    """Whether it is one number; a tensor or array of no dimension has no length either."""
    if isinstance(t, str) or not isinstance(t, Sized):
        return True
    try:
        len(t)
    except TypeError:
        return True
    return False


def bisected(ends: Sequence[Tensor], time: float, made: dict[float, Tensor], between: Step) -> Tensor:
    """The frame at the nearest multiple of 1/64, by halves; `made` keeps what was made."""
    nearest = round(time * 2**MOST_HALVINGS) / 2**MOST_HALVINGS
    nearest = min(max(nearest, 2.0**-MOST_HALVINGS), 1 - 2.0**-MOST_HALVINGS)
    low, high, first, second = 0.0, 1.0, ends[0], ends[1]
    while True:
        middle = (low + high) / 2
        if middle not in made:
            made[middle] = between(first, second, 0.5)
        if middle == nearest:
            return made[middle]
        if nearest < middle:
            high, second = middle, made[middle]
        else:
            low, first = middle, made[middle]


def pad(frame: Tensor, multiple: int, mode: Literal["constant", "replicate"] = "constant") -> Tensor:
    """Zeros below and to the right, up to multiples; or, with "replicate", the last row and column again."""
    height, width = frame.shape[2:]
    below, right = (math.ceil(size / multiple) * multiple - size for size in (height, width))
    return F.pad(frame, (0, right, 0, below), mode) if below or right else frame


def check(frame0: Tensor, frame1: Tensor) -> None:
    """Two pictures of one kind, with or without values: those on torch's device `meta` have a shape alone."""
    for frame in (frame0, frame1):
        if not isinstance(frame, Tensor):
            raise ArgumentError(f"expected frames to be tensors, got {type(frame).__name__}")
    if 0 in frame0.shape:
        raise ArgumentError(f"expected frames with pixels, got {tuple(frame0.shape)}")
    if frame0.ndim != 4 or frame0.shape[1] != 3 or frame0.dtype not in DTYPES or frame0.layout is not torch.strided:
        raise ArgumentError(f"expected floating frames of shape (B, 3, H, W), got {described(frame0)}")
    if frame1.shape != frame0.shape or frame1.dtype != frame0.dtype or frame1.layout is not torch.strided:
        got = f"{described(frame0)} and {described(frame1)}"
        raise ArgumentError(f"expected two frames of one shape and dtype, got {got}")
    if frame1.device != frame0.device:
        raise ArgumentError(f"expected two frames on one device, got {frame0.device} and {frame1.device}")


def check_fitting(name: str, multiple: int, frame0: Tensor, frame1: Tensor) -> None:
    """`check`, of pictures whose sides are multiples of what the network called `name` wants."""
    check(frame0, frame1)
    height, width = frame0.shape[2:]
    if height % multiple or width % multiple:
        raise ArgumentError(
            f"{name}: expected height and width to be multiples of {multiple}, got {height} and {width}"
        )


def check_frames(frame0: Tensor, frame1: Tensor, device: torch.device | None = None) -> None:
    """`check`, of pictures to be looked at. device: where the network is, if the frames must be there, too; those of a
    network on `meta` are shapes alone, as it is."""
    check(frame0, frame1)
    if frame0.is_meta and (device is None or device.type != "meta"):
        raise ArgumentError("expected frames that have values, got some on the device meta")
    if device not in (None, frame0.device):
        raise ArgumentError(f"expected frames on {device}, where the model is, got some on {frame0.device}")


def described(frame: Tensor) -> str:
    """Shape and dtype."""
    layout = "" if frame.layout is torch.strided else f", {dtype_name(frame.layout)}"
    return f"{tuple(frame.shape)}, {dtype_name(frame.dtype)}{layout}"
