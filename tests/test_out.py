"""out= of every public function: written, returned, refused where it does not fit."""

import functools
import inspect

import pytest
import torch
from op_calls import CASES, arguments_of

import vfi_kernels as vk
from vfi_kernels.testing import map_tensors, tensors

IN_PLACE = {name for name in vk.__all__ if name.endswith("_")}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def first_of(result):
    return result[0] if isinstance(result, tuple) else result


def call_of(case, rng):
    """The public function as the case calls it, and the tensors that it reads."""
    function = getattr(vk, case.op)
    made = case.make_inputs(*case.small[-1], dtype=torch.float32, generator=rng)
    arguments = arguments_of(inspect.unwrap(function), case.call, *made)
    arguments.pop("out")
    names = inspect.signature(function).parameters
    arguments = {name: value for name, value in arguments.items() if name in names}
    return functools.partial(function, **arguments), tensors(arguments)


def like(result, value=torch.nan):
    return map_tensors(lambda t: torch.full_like(t, value if t.is_floating_point() else -7), result)


def test_every_public_function_has_it():
    functions = [n for n in vk.__all__ if inspect.isfunction(getattr(vk, n)) and n not in {*IN_PLACE, "use_backend"}]
    assert [n for n in functions if "out" not in inspect.signature(getattr(vk, n)).parameters] == []
    assert {case.op for case in CASES.values()} <= {*functions, *IN_PLACE}


@every_case
def test_it_holds_the_result(case, backend, rng):
    if case.op in IN_PLACE:
        return
    call, _ = call_of(case, rng)
    expected = call()
    out = like(first_of(expected))
    versions = [t._version for t in tensors(out)]
    returned = call(out=out)
    assert first_of(returned) is out and all(t._version > v for t, v in zip(tensors(out), versions))
    for got, want in zip(tensors(returned), tensors(expected), strict=True):
        assert torch.equal(got, want)


@every_case
def test_no_memory_is_made_for_it(case, rng, monkeypatch):
    if case.op in IN_PLACE:
        return
    call, _ = call_of(case, rng)
    out = like(first_of(call()))

    def refuse(*_):
        raise AssertionError("copied")

    monkeypatch.setattr(torch.Tensor, "copy_", refuse)
    with vk.use_backend("cpp"):
        call(out=out)


@every_case
def test_any_strides_will_do(case, rng):
    if case.op in IN_PLACE:
        return
    call, _ = call_of(case, rng)
    expected = first_of(call())
    out = map_tensors(lambda t: like(t.mT.contiguous()).mT if t.dim() > 1 else like(t), expected)
    call(out=out)
    for got, want in zip(tensors(out), tensors(expected), strict=True):
        assert torch.equal(got, want)


@every_case
def test_what_does_not_fit_is_refused_and_unchanged(case, backend, rng):
    if case.op in IN_PLACE:
        return
    call, read = call_of(case, rng)
    result = first_of(call())
    several = isinstance(result, list)
    narrow = map_tensors(lambda t: like(t)[..., :-1] if t.shape[-1] > 1 else like(t).repeat_interleave(2, -1), result)
    other = map_tensors(lambda t: like(t).to(torch.float64 if t.dtype != torch.float64 else torch.float32), result)
    expanded = map_tensors(lambda t: like(t)[..., :1].expand_as(t) if t.shape[-1] > 1 else like(t)[..., :0], result)
    wrong = {
        "out of shape": narrow,
        "out of dtype": other,
        "out( whose elements do not share memory|of shape)?": expanded,
        r"out to be a tensor(, or tensors for several)?|\d tensors for out": 3.0,
        "an out with memory of its own": read[: len(result)] if several else read[0],
    }
    for sentence, out in wrong.items():
        before = map_tensors(torch.clone, out)
        with pytest.raises(vk.ArgumentError, match=rf"^{case.op}: expected .*({sentence})[^\n]*, got [^\n]+$"):
            call(out=out)
        for now, then in zip(tensors(out), tensors(before)):
            torch.testing.assert_close(now, then, rtol=0, atol=0, equal_nan=True)


@every_case
def test_there_is_no_gradient(case, rng):
    if case.op in IN_PLACE:
        return
    call, read = call_of(case, rng)
    out = like(first_of(call()))
    moving = [t.requires_grad_() for t in read if t.is_floating_point()]
    if not moving:
        return
    with pytest.raises(vk.ArgumentError, match="tensors without requires_grad where out is given"):
        call(out=out)
    with torch.no_grad():
        assert first_of(call(out=out)) is out


def test_compiled():
    image, flow, out = torch.rand(1, 3, 6, 8), torch.rand(1, 2, 6, 8), torch.zeros(1, 3, 6, 8)
    compiled = torch.compile(lambda x, f, o: vk.backward_warp(x, f, out=o) + 1, fullgraph=True, backend="aot_eager")
    expected = vk.backward_warp(image, flow)
    assert torch.equal(compiled(image, flow, out), expected + 1) and torch.equal(out, expected)


def test_after_a_refused_call_nothing_is_kept():
    """The next call does not write into the memory that the refused one was given."""
    image, flow, out = torch.rand(1, 3, 6, 8), torch.rand(1, 2, 6, 8), torch.zeros(1, 3, 6, 8)
    with pytest.raises(vk.ArgumentError), vk.use_backend("cpp"):
        vk.backward_warp(image, flow[:, :1], out=out)
    made = torch.ops.vfi_kernels.backward_warp(image, flow)
    assert made.data_ptr() != out.data_ptr() and not out.any()


def test_one_memory_for_two_results_is_refused():
    images, flow, out = (
        [torch.zeros(1, 3, 6, 8), torch.ones(1, 3, 6, 8)],
        torch.zeros(1, 2, 6, 8),
        torch.zeros(1, 3, 6, 8),
    )
    for call in (vk.splat, torch.compile(vk.splat, backend="eager")):
        with pytest.raises(RuntimeError, match="splat: expected an out"):
            call(images, flow, out=[out, out])


def test_parts_of_one_buffer_will_do():
    pool, flow = torch.rand(3, 3, 6, 8), torch.rand(1, 2, 6, 8)
    expected = vk.backward_warp(pool[:1], flow)
    assert torch.equal(vk.backward_warp(pool[:1], flow, out=pool[1:2]), expected) and torch.equal(pool[1:2], expected)
    vk.splat([pool[:1], pool[:1]], flow, mode="sum", out=[pool[1:2], pool[2:]])
    assert torch.equal(pool[1], pool[2])
    array = pool.numpy()
    with pytest.raises(vk.ArgumentError, match="an out with memory of its own"):
        vk.backward_warp(torch.from_numpy(array)[:1], flow, out=pool[:1])


def test_a_refused_call_leaves_every_out_as_it_was():
    image, flow = torch.rand(1, 3, 6, 8), torch.rand(1, 2, 6, 8)
    for shapes in (((1, 3, 6, 8),), ((1, 3, 6, 8), (1, 3, 6, 7)), ((1, 3, 6, 8),) * 3):
        outs = [torch.full(s, 7.0) for s in shapes]
        with pytest.raises(vk.ArgumentError):
            vk.splat([image, image], flow, out=outs)
        written = [t for t in outs if not (t == 7).all()]
        assert all(t._version > 0 for t in outs) or not written
        assert len(shapes) != 2 or not written


def test_a_graph_of_jit_trace_would_lose_it():
    image, flow, out = torch.rand(1, 3, 6, 8), torch.rand(1, 2, 6, 8), torch.zeros(1, 3, 6, 8)
    with pytest.raises(RuntimeError, match="which would drop it"):
        torch.jit.trace(lambda i, f, o: vk.backward_warp(i, f, out=o), (image, flow, out))


def test_compiled_for_any_size():
    compiled = torch.compile(lambda i, f, o: vk.backward_warp(i, f, out=o), backend="eager", fullgraph=True)
    for size in (16, 24, 32):
        image, flow, out = torch.rand(1, 3, size, size), torch.rand(1, 2, size, size), torch.zeros(1, 3, size, size)
        assert torch.equal(compiled(image, flow, out), out) and torch.equal(out, vk.backward_warp(image, flow))
