"""ldmatrix, stmatrix, movmatrix, mma.sync and wmma against an independent model of their fragments."""

import numpy as np
import pytest
from fragments import a_places, b_places, c_places, given, matrix_words, taken
from programs import entry, run
from test_ptx_numbers import bfloat, from_bfloat

RNG = np.random.default_rng(8)


def loads(pointer, names):
    """Register n of a lane is word [n, lane] of the array."""
    return [f"mul.wide.u32 %a, %t, 4; add.s64 %a, %a, {pointer};"] + [
        f"ld.global.b32 {name}, [%a+{128 * n}];" for n, name in enumerate(names)
    ]


def stores(pointer, names):
    return [line.replace("ld.global.b32", "st.global.b32") for line in loads(pointer, [])] + [
        f"st.global.b32 [%a+{128 * n}], {name};" for n, name in enumerate(names)
    ]


def registers(letter, count):
    return [f"{letter}{n}" for n in range(count)]


def braces(names):
    return "{" + ", ".join(names) + "}"


MMA = [
    (4, "tf32", "f32"),
    (8, "tf32", "f32"),
    (8, "f16", "f32"),
    (16, "f16", "f32"),
    (16, "f16", "f16"),
    (8, "bf16", "f32"),
    (16, "bf16", "f32"),
]


@pytest.mark.parametrize(("depth", "factor", "total"), MMA)
def test_mma(depth, factor, total):
    bits = 32 if factor == "tf32" else 16
    a, b, c = (RNG.integers(-8, 8, shape).astype(np.float32) for shape in ((16, depth), (depth, 8), (16, 8)))
    as_factor = {"tf32": lambda x: x, "f16": lambda x: x.astype(np.float16), "bf16": bfloat}[factor]
    sums = np.float16 if total == "f16" else np.float32
    words = [
        taken(as_factor(a), a_places(depth, bits)),
        taken(as_factor(b), b_places(depth, bits)),
        taken(c.astype(sums), c_places()),
    ]
    out = np.zeros_like(words[2])
    names = [registers(letter, len(w)) for letter, w in zip("abc", words)]
    body = [line for n, w in enumerate(names) for line in loads(f"%p{n}", w)]
    d = registers("d", len(out))
    body += [
        f"mma.sync.aligned.m16n8k{depth}.row.col.{total}.{factor}.{factor}.{total} "
        f"{braces(d)}, {', '.join(map(braces, names))};"
    ]
    all_names = ", ".join([*d, *(n for w in names for n in w)])
    text = entry("\n".join(body + stores("%p3", d)), ["u64"] * 4, registers=[("b64", "%a"), ("b32", all_names)])
    counts = run(text, *words, out)
    np.testing.assert_array_equal(given(out, c_places(), (16, 8), sums), (a @ b + c).astype(sums))
    assert counts["tensor_multiplications"]["tf32" if bits == 32 else "half"] == 16 * 8 * depth


def test_the_maps_are_one_to_one():
    for depth, bits in ((4, 32), (8, 32), (8, 16), (16, 16)):
        assert len({*zip(*(p.ravel().tolist() for p in a_places(depth, bits)))}) == 16 * depth
        assert len({*zip(*(p.ravel().tolist() for p in b_places(depth, bits)))}) == 8 * depth
    assert len({*zip(*(p.ravel().tolist() for p in c_places()))}) == 128


def test_tf32_cuts_the_low_bits_and_bfloat16_is_exact():
    a = np.full((16, 8), 1 + 2.0**-12, np.float32)
    b = np.eye(8, dtype=np.float32)
    words = [taken(a, a_places(8, 32)), taken(b, b_places(8, 32)), np.zeros((4, 32), np.uint32)]
    out = np.zeros((4, 32), np.uint32)
    names = [registers(letter, len(w)) for letter, w in zip("abc", words)]
    body = [line for n, w in enumerate(names) for line in loads(f"%p{n}", w)]
    d = registers("d", 4)
    body += [f"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {braces(d)}, {', '.join(map(braces, names))};"]
    text = entry(
        "\n".join(body + stores("%p3", d)),
        ["u64"] * 4,
        registers=[("b64", "%a"), ("b32", ", ".join([*d, *(n for w in names for n in w)]))],
    )
    run(text, *words, out)
    assert np.array_equal(out.view(np.float32), np.ones((4, 32), np.float32))
    x = RNG.standard_normal(64).astype(np.float32)
    assert np.array_equal(bfloat(from_bfloat(bfloat(x))), bfloat(x))


TILE = """{ .reg .b32 s, r, q; .shared .align 16 .b8 rows[512]; mov.u32 s, rows;
  mov.u32 r, %tid.x; shl.b32 r, r, 4; add.u32 r, r, s;
  FILL bar.warp.sync -1; USE }"""


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_ldmatrix_and_stmatrix(count, transposed):
    tiles = RNG.integers(0, 65536, (4, 8, 8)).astype(np.uint16)
    way = ".trans" if transposed else ""
    d = registers("d", count)
    fill = "mul.wide.u32 %a, %t, 16; add.s64 %a, %a, %p0; ld.global.v4.b32 {x0, x1, x2, x3}, [%a];"
    fill += "st.shared.v4.b32 [r], {x0, x1, x2, x3};"
    load = f"ldmatrix.sync.aligned.m8n8.x{count}{way}.shared.b16 {braces(d)}, [r];"
    body = TILE.replace("FILL", fill).replace("USE", f"{load} {' '.join(stores('%p1', d))}")
    out = np.zeros((count, 32), np.uint32)
    names = ", ".join(["x0, x1, x2, x3", *d])
    memory = np.zeros(264, np.uint16)
    memory = memory[(-memory.ctypes.data // 2) % 8 :][:256]
    memory[:] = tiles.ravel()
    counts = run(entry(body, ["u64"] * 2, registers=[("b64", "%a"), ("b32", names)]), memory, out)
    np.testing.assert_array_equal(out, matrix_words(tiles[:count], transposed))
    assert counts["wavefronts"] == counts["least_wavefronts"] == 4 + count
    # and back again
    store = f"stmatrix.sync.aligned.m8n8.x{count}{way}.shared.b16 [r], {braces(d)}; bar.warp.sync -1;"
    store += "ld.shared.v4.b32 {x0, x1, x2, x3}, [r];"
    back = " mul.wide.u32 %a, %t, 16; add.s64 %a, %a, %p1; st.global.v4.b32 [%a], {x0, x1, x2, x3};"
    zero = "mov.b32 x0, 0; st.shared.v4.b32 [r], {x0, x0, x0, x0};"
    body = "\n".join(loads("%p0", d)) + TILE.replace("FILL", zero).replace("USE", store + back)
    memory[:] = 0
    run(entry(body, ["u64"] * 2, registers=[("b64", "%a"), ("b32", names)]), out, memory)
    np.testing.assert_array_equal(memory.reshape(4, 8, 8)[:count], tiles[:count])


def test_movmatrix():
    tile = RNG.integers(0, 65536, (1, 8, 8)).astype(np.uint16)
    words, out = matrix_words(tile, False), np.zeros((1, 32), np.uint32)
    body = [*loads("%p0", ["x"]), "movmatrix.sync.aligned.m8n8.trans.b16 y, x;", *stores("%p1", ["y"])]
    run(entry("\n".join(body), ["u64"] * 2, registers=[("b64", "%a"), ("b32", "x, y")]), words, out)
    np.testing.assert_array_equal(out, matrix_words(tile, True))


@pytest.mark.parametrize("layouts", ["row.col", "col.row", "row.row"])
@pytest.mark.parametrize(("depth", "factor"), [(16, "f16"), (16, "bf16"), (8, "tf32")])
def test_wmma(depth, factor, layouts):
    a, b, c = (RNG.integers(-8, 8, shape).astype(np.float32) for shape in ((16, depth), (depth, 16), (16, 16)))
    as_factor = {"tf32": lambda x: x, "f16": lambda x: x.astype(np.float16), "bf16": bfloat}[factor]
    ways = layouts.split(".")
    seen = [as_factor(m if way == "row" else m.T) for m, way in zip((a, b), ways)]
    memory = []
    for m in (*seen, c, np.zeros_like(c)):
        room = np.zeros(m.nbytes + 32, np.uint8)
        room = room[-room.ctypes.data % 32 :][: m.nbytes].view(m.dtype).reshape(m.shape)
        room[:] = m
        memory.append(room)
    count = 8 if factor == "f16" else 4
    names = [registers("a", count), registers("b", count), registers("c", 8)]
    shape = f"m16n16k{depth}"
    body = [
        f"wmma.load.{letter}.sync.aligned.{way}.{shape}.global.{kind} {braces(n)}, [%p{i}], {step};"
        for i, (letter, way, kind, n, step) in enumerate(
            zip("abc", [*ways, "row"], [factor, factor, "f32"], names, [seen[0].shape[1], seen[1].shape[1], 16])
        )
    ]
    kinds = "f32.f32" if factor == "f16" else f"f32.{factor}.{factor}.f32"
    d = registers("d", 8)
    body += [f"wmma.mma.sync.aligned.{layouts}.{shape}.{kinds} {braces(d)}, {', '.join(map(braces, names))};"]
    body += [f"wmma.store.d.sync.aligned.row.{shape}.global.f32 [%p3], {braces(d)}, 16;"]
    every = ", ".join([*d, *(n for w in names for n in w)])
    run(entry("\n".join(body), ["u64"] * 4, registers=[("b32", every)]), *memory)
    np.testing.assert_array_equal(memory[3], a @ b + c)
