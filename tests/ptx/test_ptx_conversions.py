"""cvt, setp, set, selp, mov against numpy."""

import operator

import numpy as np
import pytest
from programs import apply
from test_ptx_numbers import bfloat, from_bfloat, values

NAMES = {"s16": np.int16, "u16": np.uint16, "s32": np.int32, "u32": np.uint32, "s64": np.int64, "u64": np.uint64}
SOURCES = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
ROUNDINGS = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def clamped(x, dtype):
    """NaN is 0, what is beyond the range its end."""
    info = np.iinfo(dtype)
    x = np.where(np.isnan(x), 0, x)
    ends = [info.max if v > 0 else info.min for v in x]
    inside = [min(max(int(v), info.min), info.max) if np.isfinite(v) else end for v, end in zip(x, ends)]
    return np.array(inside, dtype=dtype)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("way", ROUNDINGS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("to", NAMES)
def test_floats_to_whole_numbers(to, source, way):
    x = values(SOURCES[source])
    got = apply(f"cvt.{way}.{to}.{source} y, x0;", x, dtype=NAMES[to])
    np.testing.assert_array_equal(got, clamped(ROUNDINGS[way](x.astype(np.float64)), NAMES[to]))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("to", ["f32", "f64", *NAMES])
def test_whole_numbers(to, source):
    signed = np.dtype(NAMES[source].__name__.removeprefix("u"))
    x = values(signed.type).view(NAMES[source])
    dtype = SOURCES.get(to) or NAMES[to]
    got = apply(f"cvt{'.rn' if to[0] == 'f' else ''}.{to}.{source} y, x0;", x, dtype=dtype)
    np.testing.assert_array_equal(got, x.astype(dtype))


def test_bytes_in_wider_registers():
    x = values(np.int32)
    np.testing.assert_array_equal(apply("cvt.s32.s8 y, x0;", x), x.astype(np.int8).astype(np.int32))
    np.testing.assert_array_equal(apply("cvt.u32.u8 y, x0;", x), x.astype(np.uint8).astype(np.int32))
    np.testing.assert_array_equal(apply("cvt.u8.u32 y, x0;", x), x.astype(np.uint8).astype(np.int32))
    np.testing.assert_array_equal(apply("cvt.sat.s16.s32 y, x0;", x, dtype=np.int16), np.clip(x, -32768, 32767))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("to", "source"), [(a, b) for a in SOURCES for b in SOURCES if a != b])
def test_floats(to, source):
    x = values(SOURCES[source])
    narrows = SOURCES[to](0).itemsize < SOURCES[source](0).itemsize
    got = apply(f"cvt{'.rn' if narrows else ''}.{to}.{source} y, x0;", x, dtype=SOURCES[to])
    np.testing.assert_array_equal(got, x.astype(SOURCES[to]))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("way", ROUNDINGS)
def test_rounding_to_whole_floats_and_saturating(way):
    x = values(np.float32)
    np.testing.assert_array_equal(apply(f"cvt.{way}.f32.f32 y, x0;", x), ROUNDINGS[way](x))
    expected = np.where(np.isnan(x), 0, np.clip(x, 0, 1))
    np.testing.assert_array_equal(apply("cvt.sat.f32.f32 y, x0;", x), expected)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bfloat16_and_tf32():
    x = values(np.float32)
    np.testing.assert_array_equal(apply("cvt.rn.bf16.f32 y, x0;", x, dtype=np.uint16), bfloat(x))
    b = bfloat(x)
    np.testing.assert_array_equal(apply("cvt.f32.bf16 y, x0;", b, dtype=np.float32), from_bfloat(b))
    pairs = apply("cvt.rn.bf16x2.f32 y, x0, x1;", x, x[::-1].copy(), dtype=np.uint32)
    np.testing.assert_array_equal(pairs >> 16, bfloat(x))
    np.testing.assert_array_equal(pairs & 0xFFFF, bfloat(x[::-1]))
    halves = apply("cvt.rn.f16x2.f32 y, x0, x1;", x, x[::-1].copy(), dtype=np.uint32).view(np.float16)
    np.testing.assert_array_equal(halves[1::2], x.astype(np.float16))
    got = apply("cvt.rna.tf32.f32 y, x0;", x)
    finite = np.isfinite(x)
    bits = x.view(np.uint32)
    expected = ((bits.astype(np.uint64) + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)
    np.testing.assert_array_equal(got[finite], expected[finite])


COMPARES = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


UNORDERED = ("equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan")  # of floats
COMPARED = [(name, kind) for name in COMPARES for kind in ("s32", "u32", "s64", "s16")]
COMPARED += [(name, kind) for name in (*COMPARES, *UNORDERED) for kind in SOURCES]


@pytest.mark.parametrize(("name", "kind"), COMPARED)
def test_comparisons(name, kind):
    unordered = name in UNORDERED
    dtype = SOURCES.get(kind) or NAMES[kind]
    signed = values(np.dtype(dtype.__name__.removeprefix("u")).type)
    a, b = signed.view(dtype), np.where(np.arange(signed.size) % 3 == 0, signed, signed[::-1]).view(dtype)
    text = f"setp.{name}.{kind} p, x0, x1; selp.b32 y, 7, 9, p;"
    got = apply(text, a, b, dtype=np.int32) == 7
    nan = np.isnan(a) | np.isnan(b) if kind[0] == "f" else np.zeros(a.size, bool)
    number = nan == (name == "nan")
    expected = number if name in ("num", "nan") else (COMPARES[name[:2]](a, b) & ~nan) | (nan & unordered)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("joined", "f"), [("and", operator.and_), ("or", operator.or_), ("xor", operator.xor)])
def test_a_comparison_joined_with_a_predicate_and_its_opposite(joined, f):
    a, b = values(np.int32), values(np.int32)
    text = f"setp.lt.s32 q, x0, 0; setp.gt.{joined}.s32 p|q, x0, x1, !q; selp.b32 y, 1, 0, p; @q add.s32 y, y, 2;"
    got = apply(text, a, b)
    with_ = a >= 0
    np.testing.assert_array_equal(got, f(a > b, with_) + 2 * f(a <= b, with_))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_sets_of_numbers_and_of_pairs():
    a, b = values(np.float32), values(np.float32)
    np.testing.assert_array_equal(apply("set.gt.u32.f32 y, x0, x1;", a, b, dtype=np.int32), -(a > b).astype(np.int32))
    np.testing.assert_array_equal(apply("set.gt.f32.f32 y, x0, x1;", a, b), (a > b).astype(np.float32))
    h, k = values(np.float16, 256), values(np.float16, 256)
    pairs = [x.view(np.int32) for x in (h, k)]
    got = apply("set.le.f16x2.f16x2 y, x0, x1;", *pairs).view(np.float16)
    np.testing.assert_array_equal(got, (h <= k).astype(np.float16))
    both = apply("setp.lt.f16x2 p|q, x0, x1; selp.b32 y, 1, 0, p; @q add.s32 y, y, 2;", *pairs)
    np.testing.assert_array_equal(both, (h < k)[::2] + 2 * (h < k)[1::2])


def test_packing():
    a = values(np.int64)
    got = apply("{ .reg .b32 u, v; mov.b64 {u, v}, x0; mov.b64 y, {v, u}; }", a)
    np.testing.assert_array_equal(got.view(np.uint32).reshape(-1, 2), a.view(np.uint32).reshape(-1, 2)[:, ::-1])
    words = a.view(np.int32)
    got = apply("{ .reg .b16 u, v; mov.b32 {u, v}, x0; mov.b32 y, {v, u}; }", words)
    np.testing.assert_array_equal(got.view(np.uint16).reshape(-1, 2), words.view(np.uint16).reshape(-1, 2)[:, ::-1])
    got = apply("{ .reg .b16 u; mov.b32 {_, u}, x0; mov.b32 y, {u, u}; }", words)
    assert np.array_equal(got & 0xFFFF, words >> 16 & 0xFFFF)
