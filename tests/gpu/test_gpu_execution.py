"""How an op runs on a GPU: on which device and stream, inside CUDA graphs, how reproducibly, with how much memory."""

import pytest
import torch
from compare import forward, gradients
from every_op import every_case
from op_calls import CASES

import vfi_kernels as vk
from vfi_kernels.testing import make_flow, map_tensors, tensors

LONG_WAIT = 50_000_000  # clock cycles: the consumer on a wrong stream would be done long before


def make(case, shape=(2, 5, 40, 70), device="cuda", **options):
    generator = torch.Generator().manual_seed(3)
    return case.make_inputs(
        *shape, dtype=options.pop("dtype", torch.float32), generator=generator, device=device, **options
    )


def run(case, arguments):
    """Results and gradients of their sum, where the log-weight of a hole counts 0."""
    leaves = map_tensors(lambda t: t.detach().requires_grad_(), arguments)
    outs = tensors(case.call(*leaves))
    total = sum(torch.where(o.isfinite(), o, 0).float().sum() for o in outs)
    return [*outs, *torch.autograd.grad(total, tensors(leaves))]


def assert_same(result, expected, tolerance=1e-4):
    for a, b in zip(result, expected):
        torch.testing.assert_close(a.cpu(), b.cpu(), rtol=tolerance, atol=tolerance, equal_nan=True)


@every_case
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_tensors_device_is_not_the_current_one(case, engine):
    expected = run(case, make(case))
    with torch.cuda.device(0):
        result = run(case, make(case, device="cuda:1"))
        assert torch.cuda.current_device() == 0
    assert all(t.device.index == 1 for t in result)
    assert_same(result, expected)


@every_case
def test_side_stream(case, engine):
    """The inputs are written late on a side stream: an op on any other stream reads them too early."""
    arguments = make(case)
    expected = run(case, arguments)
    late = map_tensors(lambda t: torch.full_like(t, 0.25), arguments)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(LONG_WAIT)
        for target, source in zip(tensors(late), tensors(arguments)):
            target.copy_(source)
        result = run(case, late)
    stream.synchronize()
    assert_same(result, expected)


@every_case
@pytest.mark.parametrize("deterministic", [False, True], ids=["atomic", "deterministic"])
def test_graph_capture_and_replay(case, engine, deterministic):
    """Forward and gradients are captured once and replayed on new numbers: nothing may wait for the host, nor decide on
    it. The second set spans a wide range of metrics, the first a narrow one."""
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    narrow, wide = make(case, flow="noise"), make(case, flow="smooth")
    if case.op == "splat" and len(wide) > 2:
        wide = (*wide[:2], wide[2].sign() * 200 if "softmax" in case.name else wide[2])
    buffers = map_tensors(lambda t: t.clone(), narrow)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run(case, buffers)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run(case, buffers)
    for arguments in (wide, narrow):
        for target, source in zip(tensors(buffers), tensors(arguments)):
            target.copy_(source)
        graph.replay()
        torch.cuda.synchronize()
        assert_same(captured, run(case, arguments))


class Behind(torch.nn.Module):
    """An op whose inputs come out of a Linear layer, as in a network."""

    def __init__(self, case):
        super().__init__()
        self.call = case.call
        self.linear = torch.nn.Linear(64, 64, device="cuda")

    def forward(self, *arguments):
        return tensors(self.call(*map_tensors(lambda t: self.linear(t), arguments)))


@pytest.mark.parametrize("name", ["backward_warp-border", "warp_blend", "splat-softmax", "splat-softmax-several"])
def test_reduce_overhead_behind_a_linear(name, engine):
    torch._dynamo.reset()
    torch.manual_seed(5)
    case = CASES[name]
    eager = Behind(case)
    compiled = torch.compile(eager, mode="reduce-overhead")
    with torch.no_grad():
        for n in range(4):  # warm-up, recording, replays
            arguments = make(case, (1, 3, 24, 64), flow=["noise", "smooth", "zero", "integer"][n])
            torch.compiler.cudagraph_mark_step_begin()
            result = [t.clone() for t in compiled(*arguments)]
            assert_same(result, eager(*arguments), 1e-2)  # a Linear may round otherwise, and positions follow


@every_case
@pytest.mark.parametrize("flow", ["zoom-out", "point", "noise"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_deterministic_runs_are_bitwise_equal(case, engine, flow, dtype):
    torch.use_deterministic_algorithms(True)
    arguments = make(case, (2, 6, 61, 130), flow=flow, dtype=dtype)
    first = run(case, arguments)
    for _ in range(4):
        again = run(case, arguments)
        assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(first, again))


def test_the_usual_way_needs_the_flag_to_be_reproducible(engine):
    """The sums of the test above do depend on their order: otherwise it would show nothing."""
    x, flow = (
        torch.randn(1, 8, 256, 256, device="cuda"),
        make_flow("point", 1, 256, 256, dtype=torch.float32, device="cuda"),
    )
    result = [vk.splat(x, flow, mode="sum") for _ in range(10)]
    assert not all(torch.equal(result[0], other) for other in result[1:])


@pytest.mark.parametrize("name", ["backward_warp-border", "warp_blend"])
def test_half_images_get_no_float32_copy(name, engine):
    case = CASES[name]
    arguments = make(case, (1, 32, 270, 480), dtype=torch.float16)
    forward(case.call, arguments)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    outs = forward(case.call, arguments)
    assert torch.cuda.max_memory_allocated() - before <= sum(o.nbytes for o in outs) + 2**20


@every_case
def test_gradients_twice(case, engine):
    """Second derivatives are composed from plain PyTorch, on the device of the tensors."""
    if not case.smooth:
        pytest.skip("the metric's derivative counts the shift as constant")
    arguments = map_tensors(lambda t: t.requires_grad_(), make(case, (1, 2, 4, 5), dtype=torch.float64))
    flat = tensors(arguments)

    def call(*leaves):
        remaining = iter(leaves)
        outs = tensors(case.call(*map_tensors(lambda _: next(remaining), arguments)))
        return tuple(torch.where(o.isfinite(), o, 0) for o in outs)

    # Of whole patches there are too many elements for each by itself.
    how = {"fast_mode": sum(leaf.numel() for leaf in flat) > 200, "nondet_tol": 1e-9}  # atomics in float64
    assert torch.autograd.gradcheck(call, flat, **how)
    assert torch.autograd.gradgradcheck(call, flat, **how)


def test_wrong_device_is_refused(engine):
    with pytest.raises(RuntimeError, match="backward_warp: expected flow on device"):
        vk.backward_warp(torch.zeros(1, 1, 2, 2, device="cuda"), torch.zeros(1, 2, 2, 2))


def test_gradients_flow_through_channels_last(engine):
    case = CASES["splat-average"]
    planar = make(case, (2, 16, 33, 47))
    last = map_tensors(lambda t: t.contiguous(memory_format=torch.channels_last), planar)
    cotangents = [torch.randn_like(o) for o in forward(case.call, planar)]
    assert_same(gradients(case.call, last, cotangents), gradients(case.call, planar, cotangents))
