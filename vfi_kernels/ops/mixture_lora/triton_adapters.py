"""The products of a universal and an expert adapter with rows, in Triton, and their launches."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator
from vfi_kernels.ops._shared.triton_math.products import add_product, product_constants, side

BLOCK_T, BLOCK_SIDE = 16, 128  # tokens of a program; elements of a row at a time

Place = tuple[int, Tensor | None, Tensor | None]  # expert, experts, segments


# Tokens of segment n and its expert, an entry in use: 0 where it is out of range. The first segment begins at 0 and the
# last one ends with the tokens, whatever the numbers say. Not PACKED: all tokens.
@triton.jit
def lora_segment(n, segments, experts, count, tokens, expert, entries, PACKED: tl.constexpr):
    begin, end = tokens * 0, tokens
    if PACKED:
        begin = tl.where(n == 0, begin, tl.minimum(tl.maximum(tl.load(segments + n), 0), tokens))
        end = tl.where(n + 1 == count, end, tl.minimum(tl.maximum(tl.load(segments + n + 1), 0), tokens))
        expert = tl.load(experts + n)
    return begin, end, tl.where((expert >= 1) & (expert < entries), expert, 0)


# First token of a tile, end of its segment, expert. A tile never crosses the end of a segment; beyond the last one it
# is empty.
@triton.jit
def lora_tile(index, segments, experts, count, tokens, expert, entries, PACKED: tl.constexpr, BLOCK: tl.constexpr):
    first, last, own = tokens, tokens, expert
    for n in range(count):
        begin, end, entry = lora_segment(n, segments, experts, count, tokens, expert, entries, PACKED)
        tiles = tl.maximum(tl.cdiv(end - begin, BLOCK), 0)
        here = (index >= 0) & (index < tiles)
        first, last, own = (
            tl.where(here, begin + index * BLOCK, first),
            tl.where(here, end, last),
            tl.where(here, entry, own),
        )
        index -= tiles
    return first, last, own


# s[token, c] = sum over k of rows[token, k] factor[entry, j, k] and bias[entry, j], entry and j those of column c of
# 2 r: first entry 0, then the expert, NaN where that is out of range. One program per tile of tokens and block of
# columns.
@triton.jit
def _lora_shrink_kernel(
    rows,  # [tokens, length]
    factor,
    factor_steps,  # entry, j, k
    bias,  # [E, r], or null
    bias_steps,
    s,  # [tokens, 2 r]
    segments,
    experts,
    count,
    tokens,
    expert,
    entries,
    rank,
    length,
    PACKED: tl.constexpr,
    ACC: tl.constexpr,
    KIND: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    pieces = tl.cdiv(2 * rank, BLOCK_C)
    tokens, expert = tl.full([], tokens, tl.int64), tl.full([], expert, tl.int64)
    index = (tl.program_id(0) // pieces).to(tl.int64)
    first, last, expert = lora_tile(index, segments, experts, count, tokens, expert, entries, PACKED, BLOCK)
    t = first + tl.arange(0, BLOCK)
    c = tl.program_id(0) % pieces * BLOCK_C + tl.arange(0, BLOCK_C)
    j, entry = tl.where(c < rank, c, c - rank), tl.where(c < rank, 0, expert)
    has_adapter = tl.where(c < rank, 1, expert) != 0
    used = has_adapter & (c < 2 * rank)
    total = tl.zeros([BLOCK, BLOCK_C], ACC)
    column = factor + entry.to(tl.int64) * factor_steps[0] + j.to(tl.int64) * factor_steps[1]
    for start in range(0, length, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        live = (t < last)[:, None] & (k < length)[None, :]
        a = tl.load(rows + t[:, None] * length + k[None, :], live, 0.0)
        where = used[None, :] & (k < length)[:, None]
        b = tl.load(column[None, :] + k[:, None].to(tl.int64) * factor_steps[2], where, 0.0)
        total = add_product(total, a.to(KIND), b.to(KIND), DOT, PRECISION)
    if bias is not None:
        total += tl.load(bias + entry * bias_steps[0] + j * bias_steps[1], used, 0.0).to(ACC)[None, :]
    total = tl.where(has_adapter[None, :], total, float("nan"))
    tl.store(s + t[:, None] * (2 * rank) + c[None, :], total, (t < last)[:, None] & (c < 2 * rank)[None, :])


# out[token, o] = sum over c of s[token, c] factor[entry, j, o], bias[o], and lora_bias[e, o] of both entries. One
# program per tile of tokens and block of outputs.
@triton.jit
def _lora_expand_kernel(
    s,  # [tokens, 2 r]
    factor,
    factor_steps,  # entry, j, o
    bias,  # [length], or null
    bias_step,
    lora_bias,  # [E, length], or null
    lora_bias_steps,
    out,  # [tokens, length]
    segments,
    experts,
    count,
    tokens,
    expert,
    entries,
    rank,
    length,
    PACKED: tl.constexpr,
    ACC: tl.constexpr,
    KIND: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    pieces = tl.cdiv(length, BLOCK_O)
    tokens, expert = tl.full([], tokens, tl.int64), tl.full([], expert, tl.int64)
    index = (tl.program_id(0) // pieces).to(tl.int64)
    first, last, expert = lora_tile(index, segments, experts, count, tokens, expert, entries, PACKED, BLOCK)
    t = first + tl.arange(0, BLOCK)
    o = tl.program_id(0) % pieces * BLOCK_O + tl.arange(0, BLOCK_O)
    total = tl.zeros([BLOCK, BLOCK_O], ACC)
    for start in range(0, 2 * rank, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        j, entry = tl.where(c < rank, c, c - rank), tl.where(c < rank, 0, expert)
        used = (tl.where(c < rank, 1, expert) != 0) & (c < 2 * rank)
        column = factor + entry.to(tl.int64) * factor_steps[0] + j.to(tl.int64) * factor_steps[1]
        a = tl.load(s + t[:, None] * (2 * rank) + c[None, :], (t < last)[:, None] & (c < 2 * rank)[None, :], 0.0)
        where = used[:, None] & (o < length)[None, :]
        b = tl.load(column[:, None] + o[None, :].to(tl.int64) * factor_steps[2], where, 0.0)
        total = add_product(total, a.to(KIND), b.to(KIND), DOT, PRECISION)
    if bias is not None:
        total += tl.load(bias + o * bias_step, o < length, 0.0).to(ACC)[None, :]
    if lora_bias is not None:
        at = lora_bias + o * lora_bias_steps[1]
        both = tl.load(at, o < length, 0.0).to(ACC)
        both += tl.load(at + expert * lora_bias_steps[0], o < length, 0.0).to(ACC)
        total += both[None, :]
    tl.store(out + t[:, None] * length + o[None, :], total, (t < last)[:, None] & (o < length)[None, :])


# grad[entry, j, n] = sum over the tokens of the entry of left[token, j] right[token, n]: left is the entry's half of s
# or q, right a row of x or grad_out; null stands for ones. One program per entry and block of j and n, which goes
# through the tokens in order.
@triton.jit
def _lora_grad_kernel(
    left,  # [tokens, 2 r], or null
    right,  # [tokens, length], or null
    grad,
    grad_steps,  # entry, j, n
    segments,
    experts,
    count,
    tokens,
    expert,
    entries,
    rank,
    length,
    ranks,  # of j: r, or 1
    PACKED: tl.constexpr,
    ACC: tl.constexpr,
    KIND: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_J: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tokens, expert = tl.full([], tokens, tl.int64), tl.full([], expert, tl.int64)
    across, down = tl.cdiv(length, BLOCK_N), tl.cdiv(ranks, BLOCK_J)
    n = tl.program_id(0) % across * BLOCK_N + tl.arange(0, BLOCK_N)
    j = tl.program_id(0) // across % down * BLOCK_J + tl.arange(0, BLOCK_J)
    entry = tl.program_id(0) // across // down
    total = tl.zeros([BLOCK_J, BLOCK_N], ACC)
    for run in range(count):
        begin, end, own = lora_segment(run, segments, experts, count, tokens, expert, entries, PACKED)
        end = tl.where((entry == 0) | (own == entry), end, begin)
        for start in range(begin, end, BLOCK_K):
            t = start + tl.arange(0, BLOCK_K)
            a = tl.where((j < ranks)[:, None] & (t < end)[None, :], 1.0, 0.0)
            b = tl.where((t < end)[:, None] & (n < length)[None, :], 1.0, 0.0)
            if left is not None:
                at = left + t[None, :] * (2 * rank) + tl.where(entry == 0, 0, rank) + j[:, None]
                a = tl.load(at, (j < ranks)[:, None] & (t < end)[None, :], 0.0)
            if right is not None:
                b = tl.load(right + t[:, None] * length + n[None, :], (t < end)[:, None] & (n < length)[None, :], 0.0)
            total = add_product(total, a.to(KIND), b.to(KIND), DOT, PRECISION)
    grad += entry.to(tl.int64) * grad_steps[0]
    at = grad + j[:, None].to(tl.int64) * grad_steps[1] + n[None, :].to(tl.int64) * grad_steps[2]
    tl.store(at, total, (j < ranks)[:, None] & (n < length)[None, :])


class Adapters:
    """The adapters on rows of one call: what every launch has in common."""

    def __init__(self, x: Tensor, lora_a: Tensor, place: Place, allow_tf32: bool):
        self.x, self.tokens = x, x.shape[:-1].numel()
        self.entries, self.rank = lora_a.shape[:2]
        expert, experts, segments = place
        lists = [None if t is None else t.contiguous() for t in (segments, experts)]
        count = 1 if experts is None else experts.shape[0]
        self.tiles = triton.cdiv(self.tokens, BLOCK_T) + (0 if experts is None else count)
        self.place = (*lists, count, self.tokens, expert, self.entries, self.rank)
        self.packed, self.acc, self.allow_tf32 = experts is not None, accumulator(x), allow_tf32

    def run(self, kernel: triton.JITFunction, programs: int, *args: object, tf32: bool, **blocks: int) -> None:
        constants = product_constants(self.x.dtype, self.acc, tf32)
        with torch.cuda.device_of(self.x):
            kernel[(programs,)](*args, PACKED=self.packed, **constants, **blocks)

    def shrink(self, rows: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
        """[tokens, 2 r]; `factor` is [E, r, length]."""
        s, length = rows.new_empty(self.tokens, 2 * self.rank), rows.shape[1]
        dot = self.acc == torch.float32
        block_c = side(2 * self.rank, 64, dot)
        if s.numel() > 0:
            steps = None if bias is None else bias.stride()
            tensors = (rows, factor, factor.stride(), bias, steps, s, *self.place, length)
            programs = self.tiles * triton.cdiv(2 * self.rank, block_c)
            block_k = side(length, BLOCK_SIDE, dot) if dot else 1
            blocks = {"BLOCK": BLOCK_T, "BLOCK_C": block_c, "BLOCK_K": block_k}
            self.run(_lora_shrink_kernel, programs, *tensors, tf32=self.allow_tf32, **blocks)
        return s

    def expand(self, s: Tensor, factor: Tensor, bias: Tensor | None = None, lora_bias: Tensor | None = None) -> Tensor:
        """[tokens, length]; `factor` is [E, r, length]."""
        out, length = s.new_empty(self.tokens, factor.shape[2]), factor.shape[2]
        dot = self.acc == torch.float32
        block_o = side(length, BLOCK_SIDE, dot)
        if out.numel() > 0:
            biases = (bias, 0 if bias is None else bias.stride(0), lora_bias)
            steps = None if lora_bias is None else lora_bias.stride()
            tensors = (s, factor, factor.stride(), *biases, steps, out, *self.place, length)
            programs = self.tiles * triton.cdiv(length, block_o)
            block_c = side(2 * self.rank, 32, dot) if dot else 1
            blocks = {"BLOCK": BLOCK_T, "BLOCK_C": block_c, "BLOCK_O": block_o}
            self.run(_lora_expand_kernel, programs, *tensors, tf32=self.allow_tf32, **blocks)
        return out

    def gradient(self, left: Tensor | None, right: Tensor | None, grad: Tensor) -> None:
        """Into `grad` [E, ranks, length]. Sums of rows round no factor."""
        _, ranks, length = grad.shape
        dot = self.acc == torch.float32
        block_j, block_n = side(ranks, 32, dot), side(length, 64, dot)
        programs = self.entries * triton.cdiv(ranks, block_j) * triton.cdiv(length, block_n)
        if grad.numel() > 0:
            tf32 = self.allow_tf32 and left is not None and right is not None
            blocks = {"BLOCK_J": block_j, "BLOCK_N": block_n, "BLOCK_K": 32 if dot else 1}
            tensors = (left, right, grad, grad.stride(), *self.place, length, ranks)
            self.run(_lora_grad_kernel, programs, *tensors, tf32=tf32, **blocks)
