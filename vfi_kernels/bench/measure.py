"""Measures one job: our op, its peers, and a copy of as many bytes, all interleaved."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch

from vfi_kernels import backends
from vfi_kernels._types import Arguments, Facts, Function, Options
from vfi_kernels.bench.jobs import DTYPES, Job
from vfi_kernels.bench.machine import running_backend
from vfi_kernels.bench.peers import Peer
from vfi_kernels.bench.timing import Around, Budget, Contender, clock, interleave
from vfi_kernels.testing import OpCase, load_cases, map_tensors, tensors

OURS, OURS_FLOAT32, COPY = "ours", "ours float32", "copy"
OURS_DETERMINISTIC = "ours deterministic"
WRONG = 0.01  # a peer whose result differs by more than this, on average, is marked


def make_arguments(case: OpCase, job: Job, dtype: str) -> Arguments:
    """The same numbers for every dtype, up to its rounding."""
    generator = torch.Generator().manual_seed(0)
    arguments = case.make_inputs(*job.size, dtype=DTYPES[dtype], device=job.device, generator=generator, flow=job.flow)
    if job.layout == "channels_last":
        arguments = map_tensors(lambda t: t.contiguous(memory_format=torch.channels_last), arguments)
    return arguments


def options_of(case: OpCase) -> Options:
    """The options bound to the case's public function."""
    options: Options = getattr(case.call, "keywords", {})
    return options


def bytes_of(case: OpCase, arguments: Arguments, mode: str) -> int | None:
    """The least traffic. A backward reads the inputs and the output's gradient, and writes the inputs' gradients."""
    if case.bytes_moved is None:
        return None
    forward = case.bytes_moved(*arguments)
    backward = forward + sum(t.nbytes for t in tensors(arguments))
    return {"forward": forward, "backward": backward, "both": forward + backward}[mode]


def contender(call: Function, arguments: Arguments, job: Job, around: Around) -> Contender:
    """`call(*arguments)`, or its gradient for every tensor, as `job.mode` asks. Gradients are random, never zeros."""
    guard = {"inference_mode": torch.inference_mode, "no_grad": torch.no_grad, "grad": torch.enable_grad}[job.recording]

    def both() -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        stack.enter_context(around())
        stack.enter_context(guard())
        return stack

    if job.recording == "grad":
        arguments = map_tensors(lambda t: t.detach().requires_grad_(t.is_floating_point()), arguments)
    if job.mode == "forward":
        return Contender(lambda: call(*arguments), both)
    leaves = [t for t in tensors(arguments) if t.requires_grad]
    with around(), torch.enable_grad():
        outs = tensors(call(*arguments))
    grads = [torch.randn_like(out) for out in outs]

    def backward() -> object:
        return torch.autograd.grad(outs, leaves, grads, retain_graph=True)

    def forward_and_backward() -> object:
        return torch.autograd.grad(tensors(call(*arguments)), leaves, grads)

    return Contender(backward if job.mode == "backward" else forward_and_backward, both)


def deterministic_way(op: str, mode: str) -> bool:
    """Whether the schemas of what `mode` runs ask which way to add: in any order, or in the same one each time."""
    names = {"forward": [op], "backward": [f"{op}_grad"], "both": [op, f"{op}_grad"]}[mode]
    packets = [getattr(torch.ops.vfi_kernels, name, None) for name in names]
    return any(a.name == "deterministic" for p in packets if p is not None for a in p.default._schema.arguments)


@contextlib.contextmanager
def deterministically(around: Around) -> Iterator[None]:
    """Torch's switch alone: it would also fill every new tensor, which is no part of what is measured."""
    memory: Any = torch.utils.deterministic  # of which the type checker knows nothing
    before, fills = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    try:
        with around():
            yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = fills


def copying(nbytes: int, device: str) -> Contender:
    """The floor: half of the bytes read, half written, into a tensor that exists already."""
    source = torch.rand(max(1, nbytes // 8), device=device)
    target = torch.empty_like(source)
    return Contender(lambda: target.copy_(source))


def entering_peer(
    peer: Peer, case: OpCase, job: Job, arguments: Arguments
) -> tuple[Contender | None, float | None, str | None]:
    """The peer as a contender and how far its result is from ours, or the reason why it does not compete."""
    options = options_of(case)
    reason = peer.unsuited(*arguments, **options)
    if reason is None and job.recording == "grad" and not peer.differentiable:
        reason = "no gradient"
    if reason is not None:
        return None, None, reason
    own = peer.prepare(*arguments, **options)

    def call(*args: object) -> object:
        return peer.call(*args, **options)

    try:
        with torch.inference_mode():
            result = peer.result(call(*own))
            distance = None if peer.yardstick else difference(result, case.call(*arguments))
        return contender(call, own, job, contextlib.nullcontext), distance, None
    except Exception as error:  # a peer may fail in any way; that is its result
        return None, None, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def difference(theirs: object, ours: object) -> float:
    """Mean |theirs - ours| over mean |ours|."""
    pairs = list(zip(tensors(theirs), tensors(ours), strict=True))
    apart = sum((a.double() - b.double()).abs().sum().item() for a, b in pairs)
    return apart / max(sum(b.double().abs().sum().item() for _, b in pairs), 1e-30)


def measure(job: Job, peers: list[Peer], budget: Budget, say: Callable[[str], None]) -> Facts:
    """One row: the job's conditions, the timings of all, and what follows from them."""
    case = load_cases()[job.case]
    torch.set_num_threads(job.threads)
    arguments = make_arguments(case, job, job.dtype)
    around = contextlib.nullcontext if job.backend is None else functools.partial(backends.use_backend, job.backend)
    contenders = {OURS: contender(case.call, arguments, job, around)}
    if job.dtype in ("float16", "bfloat16"):
        contenders[OURS_FLOAT32] = contender(case.call, make_arguments(case, job, "float32"), job, around)
    if job.device == "cuda" and deterministic_way(case.op, job.mode):
        way = functools.partial(deterministically, around)
        contenders[OURS_DETERMINISTIC] = contender(case.call, arguments, job, way)
    differs: dict[str, float] = {}
    absent = {}
    for peer in peers:
        say(f"{peer.name}: {'compiling' if peer.compiles else 'preparing'}")
        entrant, distance, reason = entering_peer(peer, case, job, arguments)
        if entrant is None:
            absent[peer.name] = reason
        else:
            contenders[peer.name] = entrant
            differs |= {} if distance is None else {peer.name: distance}
    nbytes = bytes_of(case, arguments, job.mode)
    if nbytes is not None:
        contenders[COPY] = copying(nbytes, job.device)
    say("measuring")
    timings = interleave(contenders, clock(job.device), budget)
    facts = {
        "op": case.op,
        "backend": job.backend or running_backend(case.op, job.device),
        "cpu_level": backends.cpu_level(),
        "level_forced": os.environ.get("VFI_KERNELS_CPU"),
        "bytes": nbytes,
        "flops": products_of(case, arguments) if job.mode == "forward" else None,
    }
    return {**asdict(job), **facts, "timings": timings, "differs": differs, "absent": absent, **ratios(timings)}


def products_of(case: OpCase, arguments: Arguments) -> int | None:
    """The operations that torch counts, see vfi_kernels._flops; None for an op without products."""
    from torch.utils.flop_counter import FlopCounterMode  # imports Triton

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        case.call(*arguments)
    return counter.get_total_flops() or None


def ratios(timings: dict[str, dict[str, float]]) -> Facts:
    """How many times faster than each peer, and how many times the floor: quotients of medians."""
    ours = timings[OURS]["median_ms"]
    times_faster = {name: t["median_ms"] / ours for name, t in timings.items() if name not in (OURS, COPY)}
    return {"times_faster": times_faster, "times_floor": ours / timings[COPY]["median_ms"] if COPY in timings else None}
