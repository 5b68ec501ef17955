"""Every instruction that computes numbers, against numpy."""

import re

import numpy as np
import pytest
from programs import apply

RNG = np.random.default_rng(5)
EDGES = {
    np.int16: [0, 1, -1, 2, -32768, 32767, 255, -256],
    np.int32: [0, 1, -1, 2, -(2**31), 2**31 - 1, 65535, -65536],
    np.int64: [0, 1, -1, 2, -(2**63), 2**63 - 1, 2**32, -(2**32) - 1],
    np.float32: [0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, -1e-39, 3.4e38, 0.5, 1.5, 2.5, -2.5, 2**31, -(2**31)],
    np.float64: [0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 5e-324, 1.7e308, 0.5, 2.5, -2.5, 2.0**63, 1e300, 3e9, -7.25],
    np.float16: [0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 6e-8, 65504, -65504, 0.5, 1.5, 2048, 2049, 3e-5, -7.25],
}


def values(dtype, n=128):
    """Edges, and all else at random."""
    edges = np.array(EDGES[dtype], dtype=dtype)
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        more = RNG.integers(info.min, info.max, n - 2 * len(edges), dtype=dtype, endpoint=True)
    else:
        more = (RNG.standard_normal(n - 2 * len(edges)) * 10.0 ** RNG.integers(-3, 4, n - 2 * len(edges))).astype(dtype)
    return RNG.permutation(np.concatenate([edges, edges, more]))


def unsigned(a):
    return a.view(a.dtype.str.replace("i", "u"))


def wide(f):
    """f of Python's whole numbers, cut to the dtype."""
    return lambda *xs: np.array(
        [(int(v) + 2**64) % 2 ** (8 * xs[0].itemsize) for v in map(f, *(map(int, x) for x in xs))], dtype=np.uint64
    )


def truncated(a, b):
    return a if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def high(bits):
    return lambda a, b: (a * b) >> bits


INTEGERS = {  # name of the instruction -> how many operands, what Python says
    "add": (2, lambda a, b: a + b),
    "sub": (2, lambda a, b: a - b),
    "mul.lo": (2, lambda a, b: a * b),
    "mad.lo": (3, lambda a, b, c: a * b + c),
    "min": (2, min),
    "max": (2, max),
    "and": (2, lambda a, b: a & b),
    "or": (2, lambda a, b: a | b),
    "xor": (2, lambda a, b: a ^ b),
    "not": (1, lambda a: ~a),
    "neg": (1, lambda a: -a),
    "abs": (1, abs),
    "div": (2, lambda a, b: -1 if b == 0 else truncated(a, b)),
    "rem": (2, lambda a, b: a if b == 0 else a - b * truncated(a, b)),
}
BITWISE = ("and", "or", "xor", "not")


SIGNED = [(name, sign) for name in INTEGERS for sign in ("s" if name in ("neg", "abs", *BITWISE) else "su")]


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64], ids=lambda d: d.__name__)
@pytest.mark.parametrize(("name", "sign"), SIGNED)
def test_integers(name, dtype, sign):
    count, f = INTEGERS[name]
    xs = [values(dtype) for _ in range(count)]
    bits = 8 * xs[0].itemsize
    suffix = f"b{bits}" if name in BITWISE else f"{sign}{bits}"
    got = apply(f"{name}.{suffix} y, {', '.join(f'x{n}' for n in range(count))};", *xs)
    seen = [unsigned(x) for x in xs] if sign == "u" else xs
    expected = wide(f)(*seen)
    assert np.array_equal(unsigned(got).astype(np.uint64), expected)


@pytest.mark.parametrize("sign", "su")
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64], ids=lambda d: d.__name__)
def test_high_and_wide_products(dtype, sign):
    a, b = values(dtype), values(dtype)
    bits = 8 * a.itemsize
    seen = [list(map(int, unsigned(x) if sign == "u" else x)) for x in (a, b)]
    got = apply(f"mul.hi.{sign}{bits} y, x0, x1;", a, b)
    assert list(map(int, unsigned(got))) == [(x * y >> bits) % 2**bits for x, y in zip(*seen)]
    if bits < 64:
        double = np.dtype(f"i{bits // 4}")
        got = apply(f"mul.wide.{sign}{bits} y, x0, x1;", a, b, dtype=double)
        assert list(map(int, unsigned(got))) == [x * y % 2 ** (2 * bits) for x, y in zip(*seen)]
        c = values(double.type) if bits > 16 else values(np.int32)
        if bits > 16:
            got = apply(f"mad.wide.{sign}{bits} y, x0, x1, x2;", a, b, c, dtype=double)
            expected = [(x * y + int(z)) % 2 ** (2 * bits) for x, y, z in zip(*seen, c)]
            assert list(map(int, unsigned(got))) == expected


def bits_of(a):
    return [int(x) for x in unsigned(a)]


def field(signed):
    def extract(x, at, n):
        at, n = at & 255, n & 255
        if n == 0:
            return 0
        top = x >> min(at + n - 1, 31) & 1
        kept = [x >> i & 1 if i < 32 else top * signed for i in range(at, at + n)]
        kept += [top * signed] * 32
        return sum(bit << i for i, bit in enumerate(kept[:32]))

    return extract


def inserted(x, into, at, n):
    at, n = at & 255, n & 255
    mask = ((1 << n) - 1) << at & 0xFFFFFFFF
    return into & ~mask | x << at & mask


BIT_OPS = {
    "shl.b32 y, x0, x1;": lambda a, b: (a << b) % 2**32 if b < 32 else 0,
    "shr.u32 y, x0, x1;": lambda a, b: a >> b if b < 32 else 0,
    "shr.s32 y, x0, x1;": lambda a, b: ((a - (a >> 31 << 32)) >> min(b, 31)) % 2**32,
    "popc.b32 y, x0;": lambda a: a.bit_count(),
    "clz.b32 y, x0;": lambda a: 32 - a.bit_length(),
    "bfind.u32 y, x0;": lambda a: (a.bit_length() - 1) % 2**32,
    "bfind.shiftamt.u32 y, x0;": lambda a: 32 - a.bit_length() if a else 0xFFFFFFFF,
    "brev.b32 y, x0;": lambda a: int(f"{a:032b}"[::-1], 2),
    "bfe.u32 y, x0, x1, x2;": field(False),
    "bfe.s32 y, x0, x1, x2;": field(True),
    "bfi.b32 y, x0, x3, x1, x2;": lambda x, at, n, into: inserted(x, into, at, n),
    "lop3.b32 y, x0, x1, x2, 0x1E;": lambda a, b, c: a ^ (b | c),
    "lop3.b32 y, x0, x1, x2, 0xE8;": lambda a, b, c: a & b | a & c | b & c,
    "prmt.b32 y, x0, x1, 0x3276;": lambda a, b: (
        (a >> 24) << 24 | (a >> 16 & 255) << 16 | (b >> 24) << 8 | b >> 16 & 255
    ),
    "prmt.b32 y, x0, x1, 0x9810;": lambda a, b: (
        a & 0xFFFF | (0xFF0000 if a >> 7 & 1 else 0) | (0xFF000000 if a >> 15 & 1 else 0)
    ),
    "shf.l.wrap.b32 y, x0, x3, x1;": lambda a, n, _, b: (b << 32 | a) << (n & 31) >> 32 & 0xFFFFFFFF,
    "shf.r.clamp.b32 y, x0, x3, x1;": lambda a, n, _, b: (b << 32 | a) >> min(n, 32) & 0xFFFFFFFF,
}


@pytest.mark.parametrize("instruction", BIT_OPS)
def test_bits(instruction):
    x, other = values(np.int32), values(np.int32)
    at, n = (RNG.integers(0, 40, x.size).astype(np.int32) for _ in range(2))
    if instruction.startswith(("lop3", "prmt")):
        at, n = other, values(np.int32)
    inputs = [x, at, n, other][: 1 + max(int(d) for d in re.findall(r"\bx(\d)\b", instruction))]
    got = bits_of(apply(instruction, *inputs))
    assert got == [BIT_OPS[instruction](*row) for row in zip(*map(bits_of, inputs))]


def extreme(f):
    return lambda a, b: np.where(np.isnan(a), b, np.where(np.isnan(b), a, f(a, b)))


def fused(a, b, c):
    """One rounding: exact in long double for float32; float64 by fractions."""
    from fractions import Fraction

    if a.dtype != np.float64:
        return a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)
    out = a * b + c
    for i, (x, y, z) in enumerate(zip(a, b, c)):
        if np.isfinite([x, y, z]).all() and np.isfinite(out[i]) and abs(out[i]) < 1e300:
            exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
            out[i] = float(exact) if exact else out[i]
    return out


FLOATS = {
    "add": (2, lambda a, b: a + b),
    "sub": (2, lambda a, b: a - b),
    "mul": (2, lambda a, b: a * b),
    "fma.rn": (3, fused),
    "min": (2, extreme(np.fmin)),
    "max": (2, extreme(np.fmax)),
    "min.NaN": (2, np.minimum),
    "max.NaN": (2, np.maximum),
    "neg": (1, lambda a: -a),
    "abs": (1, np.abs),
}


WIDTHS = (np.float16, np.float32, np.float64)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "dtype"), [(n, d) for n in FLOATS for d in WIDTHS[: 2 if n.endswith("NaN") else 3]])
def test_floats(name, dtype):
    count, f = FLOATS[name]
    xs = [values(dtype) for _ in range(count)]
    got = apply(f"{name}.f{8 * xs[0].itemsize} y, {', '.join(f'x{n}' for n in range(count))};", *xs)
    np.testing.assert_array_equal(got, f(*xs).astype(dtype))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [n for n in FLOATS if not n.endswith("NaN")])
def test_pairs_of_halves(name):
    count, f = FLOATS[name]
    xs = [values(np.float16, 256) for _ in range(count)]
    words = [x.view(np.int32) for x in xs]
    got = apply(f"{name}.f16x2 y, {', '.join(f'x{n}' for n in range(count))};", *words).view(np.float16)
    np.testing.assert_array_equal(got, f(*xs).astype(np.float16))


def bfloat(x):
    """Rounded to nearest, ties to even; bits."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), 0x7FFF, rounded).astype(np.uint16)


def from_bfloat(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["add", "mul", "fma.rn", "max"])
def test_bfloat16(name):
    count, f = FLOATS[name]
    xs = [bfloat(values(np.float32)) for _ in range(count)]
    got = apply(f"{name}.bf16 y, {', '.join(f'x{n}' for n in range(count))};", *xs)
    exact = f(*(from_bfloat(x).astype(np.float64) for x in xs)).astype(np.float32)
    nan = np.isnan(exact)
    assert np.array_equal(got[~nan], bfloat(exact)[~nan]) and np.isnan(from_bfloat(got[nan])).all()


SPECIAL = {"ex2.approx": np.exp2, "lg2.approx": np.log2, "sqrt.rn": np.sqrt, "rcp.rn": lambda x: 1 / x}
SPECIAL |= {
    "rsqrt.approx": lambda x: 1 / np.sqrt(x),
    "sin.approx": np.sin,
    "cos.approx": np.cos,
    "tanh.approx": np.tanh,
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", SPECIAL)
def test_functions(name):
    x = values(np.float32)
    got = apply(f"{name}.f32 y, x0;", x)
    np.testing.assert_allclose(got, SPECIAL[name](x.astype(np.float64)).astype(np.float32), rtol=3e-7)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_division_saturation_and_flushing():
    a, b = values(np.float32), values(np.float32)
    np.testing.assert_array_equal(apply("div.rn.f32 y, x0, x1;", a, b), a / b)
    clipped = np.where(np.isnan(a + b), 0, np.clip(a + b, 0, 1)).astype(np.float32)
    np.testing.assert_array_equal(apply("add.sat.f32 y, x0, x1;", a, b), clipped)
    tiny = np.full(32, 1e-39, np.float32)
    assert not apply("mul.ftz.f32 y, x0, x1;", tiny, np.full(32, 2, np.float32)).any()
    assert apply("mul.f32 y, x0, x1;", tiny, np.full(32, 2, np.float32)).all()
    up, down = (
        apply(f"add.{way}.f32 y, x0, x1;", np.ones(32, np.float32), np.full(32, 1e-9, np.float32))
        for way in ("rp", "rm")
    )
    assert (up > 1).all() and (down == 1).all()
