"""Argument checks of the Python implementations; csrc/torch/checks.h says the same sentences."""

import numbers
import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

INTEGERS: Any = (int, torch.SymInt, numbers.Integral)  # the second: in traced graphs
NUMBERS: Any = (float, numbers.Real, torch.SymInt, torch.SymFloat)
FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


is_alias_of: Callable[[Tensor, Tensor], bool] = torch._C._is_alias_of  # type: ignore[attr-defined]


class ArgumentError(RuntimeError, ValueError):
    """An argument is none that a function takes. The sentence says what was expected and what came."""


def expect(ok: bool, op: str, expected: str, got: object) -> None:
    """Raises ArgumentError `<op>: expected <expected>, got <got>` unless `ok`; what sizes decide that are only known
    when a traced graph runs, such as how many patches are active, is looked at then."""
    if isinstance(ok, torch.SymBool):
        from torch.fx.experimental.symbolic_shapes import guard_or_true  # which whoever made it has imported

        ok = guard_or_true(ok)
    if not ok:
        raise ArgumentError(f"{op}: expected {expected}, got {got}")


def is_of_arguments(error: RuntimeError) -> bool:
    """Whether C++, which can only throw a RuntimeError, says a sentence of `expect`."""
    return type(error) is RuntimeError and re.match(r"\w+: expected .*, got ", str(error)) is not None


def expect_tensors(op: str, **tensors: object) -> None:
    """Each is a tensor, or stands for one (torch.fx.Proxy). Runs in every call: nothing here but the loop."""
    for name, value in tensors.items():
        if not isinstance(value, Tensor) and not hasattr(value, "__torch_function__"):
            expect(False, op, f"{name} to be a tensor", type(value).__name__)


def expect_tensors_or_none(op: str, **tensors: object) -> None:
    for name, value in tensors.items():
        if value is not None and not isinstance(value, Tensor):
            expect_tensors(op, **{name: value})


def expect_integer(op: str, name: str, value: Any, least: int | None = None) -> None:
    right = isinstance(value, INTEGERS) and (least is None or value >= least)
    if not right:
        expect(False, op, f"{name} to be an integer" + ("" if least is None else f" from {least} up"), repr(value))
    if type(value) is int and value >= 2**31:
        expect(False, op, f"{name} to be an integer below 2**31", value)


def expect_number(op: str, name: str, value: Any) -> None:
    if not isinstance(value, NUMBERS) or value - value != 0:  # math.isfinite breaks a traced graph
        expect(False, op, f"{name} to be a finite number", repr(value))


def expect_bool(op: str, name: str, value: object) -> None:
    if type(value) is not bool:
        expect(False, op, f"{name} to be True or False", repr(value))


def dtype_name(value: Tensor | torch.dtype) -> str:
    """float32, without torch's name before it."""
    return str(value.dtype if isinstance(value, Tensor) else value).removeprefix("torch.")


def shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def expect_image(op: str, name: str, image: Tensor) -> None:
    """(B, C, H, W), dense, one of the four floating dtypes."""
    expect(image.layout is torch.strided, op, f"a dense tensor for {name}", f"one of layout {image.layout}")
    expect(image.dim() == 4, op, f"{name} of shape (B, C, H, W)", shape(image))
    expect_floating(op, name, image)


def expect_floating(op: str, name: str, tensor: Tensor) -> None:
    expected = f"{name} of dtype float64, float32, float16 or bfloat16"
    expect(tensor.dtype in FLOATING, op, expected, dtype_name(tensor))


def expect_planes(op: str, name: str, tensor: Tensor, channels: int, image: Tensor, owner: str) -> None:
    """(B, channels, H, W) with the batch size, device and any floating dtype beside `image`, which `owner` names."""
    b = image.shape[0]
    expected = f"{name} of shape (B, {channels}, H, W)"
    expect(tensor.dim() == 4 and tensor.shape[1] == channels, op, expected, shape(tensor))
    expect(tensor.shape[0] == b, op, f"{expected} with B = {b} as {owner} has", shape(tensor))
    expect_floating(op, name, tensor)
    expect_device(op, name, tensor, image, owner)


def expect_device(op: str, name: str, tensor: Tensor, other: Tensor, owner: str) -> None:
    expect(tensor.device == other.device, op, f"{name} on device {other.device} as {owner} is", tensor.device)


def expect_like(op: str, name: str, tensor: Tensor, other: Tensor, owner: str) -> None:
    """A floating dtype, that of `other`, and its device."""
    expect_floating(op, name, tensor)
    got, expected = map(dtype_name, (tensor, other))
    expect(got == expected, op, f"{name} of dtype {expected} as {owner} has", got)
    expect_device(op, name, tensor, other, owner)


def expect_written(op: str, name: str, tensor: Tensor) -> None:
    """Written in place: no two elements are one in memory, as those of an expanded tensor are. From the smallest stride
    up, each must reach beyond all that lies between steps of it."""
    reach, nested = 0, True
    for stride, n in sorted(zip(tensor.stride(), tensor.shape)):
        nested = nested and (n <= 1 or stride > reach)
        reach += (n - 1) * stride
    got = f"strides {tensor.stride()}"
    expect(nested or tensor.numel() == 0, op, f"{name} whose elements do not share memory", got)


def expect_apart(op: str, base: Tensor, **read: Tensor | None) -> None:
    """`base`, which is written in place, has no memory of what is read; a traced graph makes a copy of it where it
    has."""
    for name, t in read.items():
        if t is not None and (base is t or (not torch.compiler.is_compiling() and is_alias_of(base, t))):
            expect(False, op, "a base with memory of its own", f"one in the memory of {name}")


def expect_size(op: str, name: str, tensor: Tensor, size: tuple[int, ...], owner: str) -> None:
    """The last two sizes of `tensor` are `size`, those of `owner`."""
    expected = f"{name} of height and width {size} as {owner} has"
    expect(tuple(tensor.shape[2:]) == tuple(size), op, expected, shape(tensor))


def expect_choice(op: str, name: str, value: str, choices: Iterable[str]) -> None:
    if isinstance(value, str) and value in choices:
        return
    *others, last = (f"'{c}'" for c in choices)
    listed = f"{', '.join(others)} or {last}"
    expect(False, op, f"{name} {listed}", f"'{value}'" if isinstance(value, str) else type(value).__name__)
