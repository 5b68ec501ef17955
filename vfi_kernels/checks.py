"""Argument checks of the Python implementations; csrc/common/checks.h says the same sentences."""

import numbers
from typing import Any

import torch
from torch import Tensor

INTEGERS: Any = (int, torch.SymInt, numbers.Integral)  # the second: in traced graphs
FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def expect(ok: bool, op: str, expected: str, got: object) -> None:
    """Raises RuntimeError `<op>: expected <expected>, got <got>` unless `ok`."""
    if not ok:
        raise RuntimeError(f"{op}: expected {expected}, got {got}")


def expect_integer(op: str, name: str, value: Any, least: int | None = None) -> None:
    expected = f"{name} to be an integer" + ("" if least is None else f" from {least} up")
    expect(isinstance(value, INTEGERS) and (least is None or value >= least), op, expected, repr(value))


def shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def expect_image(op: str, name: str, image: Tensor) -> None:
    """(B, C, H, W), one of the four floating dtypes."""
    expect(image.dim() == 4, op, f"{name} of shape (B, C, H, W)", shape(image))
    expect_floating(op, name, image)


def expect_floating(op: str, name: str, tensor: Tensor) -> None:
    got = str(tensor.dtype).removeprefix("torch.")
    expect(tensor.dtype in FLOATING, op, f"{name} of dtype float64, float32, float16 or bfloat16", got)


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


def expect_size(op: str, name: str, tensor: Tensor, size: tuple[int, ...], owner: str) -> None:
    """The last two sizes of `tensor` are `size`, those of `owner`."""
    expected = f"{name} of height and width {size} as {owner} has"
    expect(tuple(tensor.shape[2:]) == tuple(size), op, expected, shape(tensor))


def expect_choice(op: str, name: str, value: str, choices: tuple[str, ...]) -> None:
    listed = ", ".join(f"'{c}'" for c in choices[:-1]) + f" or '{choices[-1]}'"
    expect(value in choices, op, f"{name} {listed}", f"'{value}'")
