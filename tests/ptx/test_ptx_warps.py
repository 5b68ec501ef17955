"""Lanes that part and meet, what they do together, barriers, atomics, asynchronous copies."""

import numpy as np
import pytest
from programs import address, apply, elementwise, entry, run

LANES = np.arange(32, dtype=np.int32)


def collatz(n):
    steps = 0
    while n != 1:
        n, steps = (3 * n + 1 if n % 2 else n // 2), steps + 1
    return steps


LOOP = """mov.b32 y, 0;
  again: setp.eq.s32 p, x0, 1; @p bra done;
  { .reg .b32 odd; and.b32 odd, x0, 1; setp.ne.s32 q, odd, 0; }
  @q bra up; shr.u32 x0, x0, 1; bra next;
  up: mad.lo.s32 x0, x0, 3, 1;
  next: add.s32 y, y, 1; bra again;
  done:"""


def test_a_loop_that_every_lane_leaves_at_its_own_time():
    x = np.arange(1, 65, dtype=np.int32)
    out = np.zeros(64, np.int32)
    counts = run(elementwise(LOOP, [x], out), x, out, grid=2)
    assert out.tolist() == [collatz(int(n)) for n in x]
    steps = out.reshape(2, 32).max(1).sum()
    assert steps * 5 <= counts["issued_by_class"]["branch"] + counts["issued_by_class"]["integer"] * 2  # they met again
    assert counts["issued"] < counts["lanes"] < 32 * counts["issued"]


def test_lanes_meet_behind_what_parted_them():
    text = "setp.lt.s32 p, x0, 16; @p bra low; mov.b32 y, 1; bra join; low: mov.b32 y, 2; join: add.s32 y, y, 1;"
    out = np.zeros(32, np.int32)
    counts = run(elementwise(text, [LANES], out), LANES, out)
    assert out.tolist() == [3] * 16 + [2] * 16
    straight = run(elementwise("add.s32 y, x0, 1;", [LANES], out), LANES, out)
    assert counts["issued"] == straight["issued"] + 5 and counts["lanes"] == straight["lanes"] + 32 * 2 + 16 * 3


def test_a_switch():
    text = """and.b32 x0, x0, 3; bra begin;
      places: .branchtargets zero, one, two, three;
      begin: brx.idx x0, places;
      zero: mov.b32 y, 10; bra end; one: mov.b32 y, 11; bra end; two: mov.b32 y, 12; bra end; three: mov.b32 y, 13;
      end:"""
    assert apply(text, LANES).tolist() == [10 + n % 4 for n in range(32)]


SHUFFLES = {
    "idx.b32 y|p, x0, 5, 0x1f": lambda n: (5, True),
    "idx.b32 y|p, x0, 3, 0x181f": lambda n: (n // 8 * 8 + 3, True),
    "bfly.b32 y|p, x0, 6, 0x1f": lambda n: (n ^ 6, True),
    "down.b32 y|p, x0, 3, 0x1f": lambda n: (n + 3, True) if n + 3 < 32 else (n, False),
    "up.b32 y|p, x0, 3, 0": lambda n: (n - 3, True) if n >= 3 else (n, False),
}


@pytest.mark.parametrize("name", SHUFFLES)
def test_shuffles(name):
    x = np.random.default_rng(1).integers(0, 1000, 32).astype(np.int32)
    got = apply(f"shfl.sync.{name}, -1; @p add.s32 y, y, 10000;", x)
    assert got.tolist() == [int(x[j]) + 10000 * ok for j, ok in map(SHUFFLES[name], range(32))]


def test_shuffles_of_a_part_of_the_warp():
    text = "setp.ge.s32 p, x0, 8; mov.b32 y, -1; @p bra out; shfl.sync.bfly.b32 y, x0, 1, 0x1f, 0xff; out:"
    assert apply(text, LANES).tolist() == [n ^ 1 if n < 8 else -1 for n in range(32)]


def test_votes():
    mask = sum(1 << n for n in range(0, 32, 3))
    ballot = "{ .reg .b32 r; rem.s32 r, x0, 3; setp.eq.s32 p, r, 0; } vote.sync.ballot.b32 y, p, -1;"
    assert set(apply(ballot, LANES).view(np.uint32).tolist()) == {mask}
    inverted = ballot.replace("y, p, -1", "y, !p, -1")
    assert set(apply(inverted, LANES).view(np.uint32).tolist()) == {~mask & 0xFFFFFFFF}
    for name, f in (("any", any), ("all", all), ("uni", lambda v: len(set(v)) == 1)):
        for limit in (0, 7, 32):
            text = f"setp.lt.s32 p, x0, {limit}; vote.sync.{name}.pred q, p, -1; selp.b32 y, 1, 0, q;"
            assert set(apply(text, LANES).tolist()) == {int(f([n < limit for n in range(32)]))}


def test_matches_reductions_and_elections():
    x = (LANES % 5).astype(np.int32)
    same = [sum(1 << m for m in range(32) if m % 5 == n % 5) for n in range(32)]
    assert apply("match.any.sync.b32 y, x0, -1;", x).view(np.uint32).tolist() == same
    text = "match.all.sync.b32 y|p, x0, -1; @!p mov.b32 y, 5;"
    assert set(apply(text, x).tolist()) == {5} and set(apply(text, x * 0).tolist()) == {-1}
    for name, expected in (("add", 62), ("min", 0), ("max", 4)):
        assert set(apply(f"redux.sync.{name}.s32 y, x0, -1;", x).tolist()) == {
            expected if name != "add" else int(x.sum())
        }
    groups = "{ .reg .b32 m; match.any.sync.b32 m, x0, -1; redux.sync.add.s32 y, x0, m; }"
    assert apply(groups, x).tolist() == [int(v * (x == v).sum()) for v in x]
    assert apply("elect.sync y|p, -1; selp.b32 y, 1, 0, p;", LANES).tolist() == [1] + [0] * 31
    assert set(apply("activemask.b32 y;", LANES).tolist()) == {-1}


REVERSE = """{ .reg .b32 s, r; .shared .align 4 .b8 rows[1024];
  mov.u32 s, rows; mov.u32 r, %tid.x; shl.b32 r, r, 2; add.u32 r, r, s; st.shared.b32 [r], x0;
  BARRIER
  mov.u32 r, %tid.x; xor.b32 r, r, 255; shl.b32 r, r, 2; add.u32 r, r, s; ld.shared.b32 y, [r]; }"""


def reversed_blocks(barrier, block=256):
    x = np.arange(512, dtype=np.int32)
    out = np.zeros_like(x)
    counts = run(elementwise(REVERSE.replace("BARRIER", barrier), [x], out), x, out, grid=2, block=block)
    return out.reshape(2, 256)[:, ::-1].ravel().tolist() == x.tolist(), counts


def test_a_barrier_orders_shared_memory():
    right, counts = reversed_blocks("bar.sync 0;")
    assert right and counts["wavefronts"] == counts["least_wavefronts"] == 2 * 2 * 8
    assert reversed_blocks("bar.sync 1, 256;")[0]


@pytest.mark.parametrize("barrier", ["", "bar.warp.sync -1;", "bar.sync 1, 64;"])
def test_a_missing_barrier_is_found(barrier):
    with pytest.raises(RuntimeError, match=r"race|never reach"):
        reversed_blocks(barrier)


def test_bank_conflicts_are_counted():
    text = """{ .reg .b32 s, r; .shared .align 4 .b8 rows[8192]; mov.u32 s, rows; mov.u32 r, %tid.x;
      shl.b32 r, r, SHIFT; add.u32 r, r, s; st.shared.b32 [r], x0; mov.b32 y, 0; }"""
    for shift, cycles in ((2, 1), (3, 2), (5, 8), (7, 32)):
        out = np.zeros(32, np.int32)
        counts = run(elementwise(text.replace("SHIFT", str(shift)), [LANES], out), LANES, out)
        assert (counts["wavefronts"], counts["least_wavefronts"]) == (cycles, 1)


@pytest.mark.parametrize("stride", [1, 2, 8, 16])
def test_sectors_are_counted(stride):
    x, out = np.zeros(32 * 16 + 16, np.float32), np.zeros(48, np.float32)
    x, out = (a[(-a.ctypes.data // 4) % 8 :] for a in (x, out))  # at a whole sector
    load = f"{address('%p0', 4 * stride)} ld.global.f32 y, [%a]; {address('%p1', 4)} st.global.f32 [%a], y;"
    counts = run(entry(load, ["u64", "u64"], registers=[("b64", "%a"), ("f32", "y")]), x, out)
    assert (counts["sectors_read"], counts["sectors_written"]) == (min(4 * stride, 32), 4)
    assert (counts["requests"], counts["sectors"]) == (2, min(4 * stride, 32) + 4)


def test_atomics():
    x = np.arange(64, dtype=np.float32)
    for name, expected in (("add.f32", x.sum()), ("add.u32", None)):
        values = x if name.endswith("f32") else x.astype(np.int32)
        out = np.zeros(1, values.dtype)
        body = f"{address('%p0', 4)} ld.global.b32 y, [%a]; red.global.{name} [%p1], y;"
        counts = run(entry(body, ["u64", "u64"], registers=[("b64", "%a"), ("b32", "y")]), values, out, grid=2)
        assert out[0] == (values.sum() if expected is None else expected)
        assert counts["sectors_added"] == 1 and counts["issued_by_class"]["atomic"] == 2


VECTOR = "red.global.add.v4.f32 [%p1], {y, y, z, z};"
HALVES = "cvt.rn.f16x2.f32 w, z, y; red.global.add.noftz.f16x2 [%p1], w;"


@pytest.mark.parametrize(
    ("red", "expected"), [(VECTOR, [32, 32, 64, 64]), (HALVES, np.array([32, 64], np.float16).view(np.float32))]
)
def test_atomics_of_vectors_and_pairs(red, expected):
    out = np.zeros(8, np.float32)
    out = out[(-out.ctypes.data // 4) % 4 :][:4]
    body = f"mov.b32 y, 0f3f800000; mov.b32 z, 0f40000000; {red}"
    run(entry(body, ["u64", "u64"], registers=[("f32", "y, z"), ("b32", "w")]), out, out)
    assert out[: len(expected)].tolist() == list(expected)


def test_compare_and_swap_and_exchange():
    out = np.zeros(2, np.int32)
    body = "atom.global.cas.b32 y, [%p0], 0, 7; atom.global.exch.b32 y, [%p0+4], %t; atom.global.max.s32 y, [%p0], 5;"
    run(entry(body, ["u64"], registers=[("b32", "y")]), out)
    assert out.tolist() == [7, 31]


COPY = """{ .reg .b32 s, r; .shared .align 16 .b8 rows[512]; mov.u32 s, rows;
  mov.u32 r, %tid.x; shl.b32 r, r, 4; add.u32 r, r, s;
  cp.async.cg.shared.global [r], [%a], 16SIZE; cp.async.commit_group;
  WAIT
  mov.u32 r, %tid.x; xor.b32 r, r, 1; shl.b32 r, r, 4; add.u32 r, r, s; ld.shared.v4.b32 {y0, y1, y2, y3}, [r]; }"""


def copied(wait, size=""):
    x = np.arange(132, dtype=np.int32)
    out = np.zeros(132, np.int32)
    x, out = (a[(-a.ctypes.data // 4) % 4 :][:128] for a in (x, out))
    body = f"{address('%p0', 16)} {COPY.replace('WAIT', wait).replace('SIZE', size)} {address('%p1', 16)}"
    body += "st.global.v4.b32 [%a], {y0, y1, y2, y3};"
    run(entry(body, ["u64", "u64"], registers=[("b64", "%a"), ("b32", "y0, y1, y2, y3")]), x, out)
    return x.reshape(16, 2, 4)[:, ::-1].ravel(), out


WAIT = "cp.async.wait_group 0; bar.warp.sync -1;"


def test_asynchronous_copies():
    expected, out = copied(WAIT)
    assert out.tolist() == expected.tolist()
    expected, out = copied(WAIT.replace("wait_group 0", "wait_all"), ", 4")
    assert (
        out.reshape(32, 4)[:, 0].tolist() == expected.reshape(32, 4)[:, 0].tolist()
        and not out.reshape(32, 4)[:, 1:].any()
    )


@pytest.mark.parametrize(
    "wait", ["", "cp.async.wait_group 1; bar.warp.sync -1;", "cp.async.wait_group 0;", "bar.warp.sync -1;"]
)
def test_a_copy_that_is_not_waited_for_is_found(wait):
    with pytest.raises(RuntimeError, match="race"):
        copied(wait)
