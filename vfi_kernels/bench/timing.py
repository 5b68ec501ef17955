"""Interleaved measurements: every contender once per round, so that a noisy machine disturbs all of them alike."""

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch

Around: TypeAlias = Callable[[], contextlib.AbstractContextManager[object]]


@dataclass(frozen=True)
class Contender:
    """Something to time: `run()` inside `around()`, whose own cost is not counted."""

    run: Callable[[], object]
    around: Around = contextlib.nullcontext


@dataclass(frozen=True)
class Budget:
    """How long one row may take, and how many rounds it takes at least and at most.

    A contender that has used up `seconds` by itself rests after `enough` samples.
    """

    seconds: float = 3.0
    enough: int = 3
    rounds: tuple[int, int] = (7, 60)
    sample: float = 0.01  # a sample repeats a short call until it lasts about this many seconds


QUICK = Budget(seconds=0.3, rounds=(3, 10), sample=0.001)


class CpuClock:
    """Wall time of a block of calls."""

    def calls(self, once: float, budget: Budget) -> int:
        """How many calls make a sample, where one takes `once` seconds."""
        return max(1, min(20_000, round(budget.sample / max(once, 1e-9))))

    def sample(self, contender: Contender, calls: int) -> float:
        """Seconds per call."""
        run = contender.run
        with contender.around():
            start = time.perf_counter()
            for _ in range(calls):
                run()
            return (time.perf_counter() - start) / calls


FLUSHED = 2**30  # bytes, more than any cache holds


class CudaClock:
    """Time between two events around one call, after the L2 cache was overwritten.

    Overwriting a gigabyte also keeps the GPU busy while the call is being launched: launch costs are not counted.
    """

    def __init__(self) -> None:
        self.flush = torch.empty(FLUSHED, dtype=torch.int8, device="cuda")

    def calls(self, once: float, budget: Budget) -> int:
        return 5

    def sample(self, contender: Contender, calls: int) -> float:
        """Seconds per call, the median over `calls` of them."""
        pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(calls)]
        with contender.around():
            for start, end in pairs:
                self.flush.zero_()
                start.record()
                contender.run()
                end.record()
        torch.cuda.synchronize()
        times: list[float] = [start.elapsed_time(end) for start, end in pairs]
        return statistics.median(times) / 1000


def clock(device: str) -> CpuClock | CudaClock:
    return CpuClock() if device == "cpu" else CudaClock()


def interleave(
    contenders: dict[str, Contender], timer: CpuClock | CudaClock, budget: Budget
) -> dict[str, dict[str, float]]:
    """Times every contender once per round, starting each round one place later, and summarises the samples."""
    calls = {}
    for name, contender in contenders.items():
        once = timer.sample(contender, 1)
        if once < budget.seconds / 20:  # a slow call has warmed up by itself
            once = timer.sample(contender, 1)
        calls[name] = timer.calls(once, budget)
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    least, most = budget.rounds
    start = time.perf_counter()
    with _no_garbage_collection():
        for n in range(most):
            if n >= least and time.perf_counter() - start > budget.seconds:
                break
            for name in order[n % len(order) :] + order[: n % len(order)]:
                times = samples[name]
                if len(times) < budget.enough or sum(times) * calls[name] < budget.seconds:
                    times.append(timer.sample(contenders[name], calls[name]))
    return {name: summary(times, calls[name]) for name, times in samples.items()}


def summary(samples: list[float], calls: int) -> dict[str, float]:
    """Median and quartiles in milliseconds; `calls` is the number of calls behind one sample."""
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return {
        "median_ms": median * 1000,
        "low_ms": low * 1000,
        "high_ms": high * 1000,
        "samples": len(samples),
        "calls": calls,
    }


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
