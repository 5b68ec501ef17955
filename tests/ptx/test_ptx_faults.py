"""What is wrong is found, and named: by kernel, line, block and thread."""

import numpy as np
import pytest
from programs import address, elementwise, entry, module, run

X = np.arange(64, dtype=np.int32)


def fails(text, *arguments, match, **options):
    with pytest.raises(RuntimeError, match=match) as caught:
        run(text, *arguments, **options)
    return str(caught.value)


def one(
    body, *arguments, match, registers=(("b32", "x, y, z, w"), ("b64", "%a"), ("pred", "p")), directives="", **options
):
    parameters = ["u64" if isinstance(a, np.ndarray) else "u32" for a in arguments]
    return fails(
        entry(body, parameters, registers=registers, directives=directives), *arguments, match=match, **options
    )


def test_unknown_instructions_are_named():
    text = one("vadd4.u32.u32.u32 x, y, z, w;", X, match="unknown instruction, in kernel, line")
    assert "vadd4.u32.u32.u32" in text
    one("add.cc.u32 x, y, z;", X, match="unknown instruction.*add.cc")
    one(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {x, y, z, w}, {x, y, z, w}, {x, y}, {x, y, z, w};",
        X,
        match="unknown.*m16n8k32",
    )
    one("@nowhere add.u32 x, y, z;", X, match="unknown predicate")
    one("bra nowhere;", X, match="unknown label nowhere")
    one("mov.u32 x, nothing;", X, match="unknown instruction.*nothing")


@pytest.mark.parametrize("beyond", [-4, 256])
def test_an_index_off_by_one(beyond):
    text = one(
        f"{address('%p0', 4)} add.s64 %a, %a, {beyond}; ld.global.b32 x, [%a];",
        X,
        match="outside of every tensor",
        grid=2,
    )
    assert "thread 0" in text and "line" in text and "block (" in text
    one(f"{address('%p0', 4)} st.global.b32 [%a+132], 0;", X, match="outside of every tensor.*thread 31", grid=2)


@pytest.mark.parametrize(("size", "off"), [(2, 4), (4, 4), (4, 8)])
def test_a_misaligned_vector(size, off):
    names = ", ".join("xyzw"[:size])
    x = np.zeros(132, np.int32)
    x = x[(-x.ctypes.data // 4) % 4 :][:128]
    body = f"{address('%p0', 4 * size)} ld.global.v{size}.b32 {{{names}}}, [%a];"
    run(entry(body, ["u64"], registers=(("b32", "x, y, z, w"), ("b64", "%a"))), x)
    wrong = body.replace("[%a]", f"[%a+{off}]")
    if off % (4 * size):
        one(wrong, x, match="misaligned")
    one("{ .shared .align 16 .b8 rows[64]; mov.u32 x, rows; ld.shared.v2.b32 {y, z}, [x+4]; }", x, match="misaligned")


def test_shared_local_and_parameter_bounds():
    one(
        "{ .shared .align 4 .b8 rows[64]; mov.u32 x, rows; st.shared.b32 [x+64], 0; }",
        X,
        match="shared memory out of bounds: byte 64 of 64",
    )
    one(
        "{ .local .align 4 .b8 own[64]; mov.u64 %a, own; st.local.b32 [%a+64], 0; }",
        X,
        match="local memory out of bounds",
    )
    one("ld.param.b32 x, [kernel_0+8];", X, match="parameters out of bounds")


def test_blocks_that_race():
    body = f"{address('%p0', 4, index='%l')} st.global.b32 [%a], %t;"
    one(body, X, match=r"race: writes what block \d+ writes", grid=2)
    run(entry(body, ["u64"], registers=(("b64", "%a"),)), X, grid=1)
    place = address("%p0", 4, index="y")
    reads = f"{address('%p0', 4)} ld.global.b32 x, [%a]; xor.b32 y, %t, 32; {place} st.global.b32 [%a], x;"
    one(reads, X, match="race: writes what block 0 reads|race: reads what block", grid=2)
    mixed = "red.global.add.u32 [%p0], 1; setp.eq.u32 p, %t, 40; @p st.global.b32 [%p0], 0;"
    one(mixed, X, match="race: writes what several blocks add to", grid=2)
    run(entry("red.global.add.u32 [%p0], 1;", ["u64"]), X, grid=2)
    halves = f"{address('%p0', 2)} cvt.u16.u32 h, %t; st.global.b16 [%a], h;"  # neighbours of one word
    run(entry(halves, ["u64"], registers=(("b64", "%a"), ("b16", "h"))), X, grid=3, block=31)


def test_a_constant_load_of_what_the_launch_writes():
    body = f"{address('%p0', 4)} st.global.b32 [%a], 1; ld.global.nc.b32 x, [%a];"
    one(body, X, match="constant load")


def test_barriers_that_not_all_reach():
    one(
        "setp.lt.u32 p, %l, 40; @p bar.sync 0; @!p bra out; bra out; out: @!p bar.sync 0;",
        X,
        match="different barriers|never reach",
        block=64,
    )
    one("setp.lt.u32 p, %l, 32; @p bra low; bar.sync 1; low: bar.sync 0;", X, match="never reach|different", block=64)
    run(
        entry("setp.lt.u32 p, %l, 40; @p ret; bar.sync 0;", ["u64"], registers=(("pred", "p"),)), X, block=64
    )  # they have ended


def test_collectives_that_not_all_reach():
    one(
        "setp.lt.u32 p, %l, 16; @p ret; shfl.sync.bfly.b32 x, %l, 16, 0x1f, -1;",
        X,
        match="shfl reads lane 0, which does not take part",
    )
    one("setp.lt.u32 p, %l, 16; @p bra low; bar.warp.sync -1; ret; low: bar.warp.sync -1;", X, match="never come")
    one("setp.lt.u32 p, %l, 16; @p shfl.sync.bfly.b32 x, %l, 1, 0x1f, 0xff;", X, match="not in its own mask")
    one("setp.lt.u32 p, %l, 16; @p movmatrix.sync.aligned.m8n8.trans.b16 x, y;", X, match="without all lanes")


def test_launches_that_a_gpu_refuses():
    text = entry("", ["u64"], directives=".maxntid 64, 1, 1\n")
    fails(text, X, match="more than its __launch_bounds__ of 64", block=96)
    fails(text, X, match="1088 threads in a block", block=1088)
    fails(text, X, match="shared memory, of 49152", shared=49153)
    fails(text, X, X, match="expected 1 arguments, got 2")
    text = entry("", ["u32"])
    fails(text, X, match="expected argument 0 of 4 bytes, got 8")
    m = module()
    run(entry("", ["u64"]), X)
    with pytest.raises(RuntimeError, match="of shared memory, of 232448"):
        m.allow_shared("kernel", 232449)


def test_a_race_in_shared_memory_between_lanes_of_a_warp():
    body = """{ .shared .align 4 .b8 rows[128]; mov.u32 x, rows; shl.b32 y, %l, 2; add.u32 x, x, y;
      st.shared.b32 [x], y; ORDER
      xor.b32 z, y, 4; sub.u32 x, x, y; add.u32 x, x, z; ld.shared.b32 w, [x]; }"""
    one(body.replace("ORDER", ""), X, match="race: reads what thread 1 wrote without a barrier")
    registers = (("b32", "x, y, z, w"),)
    run(entry(body.replace("ORDER", "bar.warp.sync -1;"), ["u64"], registers=registers), X)
    one(
        "{ .shared .align 4 .b8 r[4]; mov.u32 x, r; st.shared.b32 [x], %l; }",
        X,
        match="race: writes what thread 0 wrote",
    )
    run(
        entry("{ .shared .align 4 .b8 r[4]; mov.u32 x, r; red.shared.add.u32 [x], 1; }", ["u64"], registers=registers),
        X,
    )


def test_named_barriers_order_what_they_join():
    body = """{ .shared .align 4 .b8 r[4]; mov.u32 x, r; setp.lt.u32 p, %l, 32; @p bra low;
      bar.sync 1, 64; ld.shared.b32 y, [x]; ret;
      low: setp.eq.u32 p, %l, 0; @p st.shared.b32 [x], 7; bar.arrive NUMBER, 64; }"""
    registers = (("b32", "x, y"), ("pred", "p"))
    run(entry(body.replace("NUMBER", "1"), ["u64"], registers=registers), X, block=64)
    one(body.replace("NUMBER", "2"), X, match="never reach", block=64)
    late = body.replace("@p st.shared.b32 [x], 7; bar.arrive NUMBER, 64;", "bar.arrive 1, 64; @p st.shared.b32 [x], 7;")
    one(late, X, match="race", block=64)


def test_counts_of_a_sample_are_multiplied():
    x, out = np.arange(32 * 40, dtype=np.int32), np.zeros(32 * 40, np.int32)
    text = elementwise("add.s32 y, x0, 1;", [x], out)
    every = run(text, x, out, grid=40)
    module().set_sample(4)
    try:
        some = run(text, x, out, grid=40)
    finally:
        module().set_sample(0)
    for name in ("issued", "lanes", "requests", "sectors", "blocks", "threads"):
        assert some[name] == every[name]
    assert (out == 0).sum() == 0  # of the first run
