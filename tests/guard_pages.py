"""Tensors whose first or last element lies against a guarded page: a read beyond it ends the process."""

import ctypes
import mmap

import torch
from torch import Tensor

PAGE = mmap.PAGESIZE
NO_ACCESS = 0
_libc = ctypes.CDLL(None, use_errno=True)


def guarded(count: int, dtype: torch.dtype, *, behind: bool = True, gap: int = 0) -> Tensor:
    """`count` elements, all bits set (NaN), that end `gap` elements before a guarded page, or begin so behind one."""
    if count == 0:
        return torch.empty(0, dtype=dtype)
    size = dtype.itemsize
    pages = -(-(count + gap) * size // PAGE)
    memory = mmap.mmap(-1, (pages + 1) * PAGE)  # torch.frombuffer keeps it alive
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    page = start + pages * PAGE if behind else start
    if _libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), NO_ACCESS) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    first = pages * PAGE - (count + gap) * size if behind else PAGE + gap * size
    flat = torch.frombuffer(memory, dtype=dtype, count=count, offset=first)
    ctypes.memset(start + first, 255, count * size)
    return flat


def spread(values: Tensor, strides: tuple[int, ...], flat: Tensor) -> Tensor:
    """A view of `flat` of these strides that holds `values`; where elements share memory, the last of them."""
    place = sum(
        (
            torch.arange(n).view(-1, *[1] * (values.dim() - d - 1)) * s
            for d, (n, s) in enumerate(zip(values.shape, strides))
        ),
        torch.zeros((), dtype=torch.int64),
    )
    place = place.expand(values.shape).reshape(-1)
    last = torch.zeros(flat.numel(), dtype=torch.int64)
    last.scatter_reduce_(0, place, torch.arange(place.numel()), "amax")  # threads write in any order
    flat[place] = values.reshape(-1)[last[place]]
    return flat.as_strided(values.shape, strides, flat.storage_offset())


def span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last one."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(shape, strides))
