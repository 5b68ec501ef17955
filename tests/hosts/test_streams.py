"""Pictures that several threads ask for, in any order: the same ones, each made once, and nothing kept for long."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from vfi.hosts.streams import Stream, Streams
from vfi.models.interpolator import Interpolator

FRAMES, TIMES = 12, (0.25, 0.5, 0.75)


class Slow(Interpolator):
    def __init__(self):
        self.running = self.most = self.calls = self.pictures = 0
        self.fail_at = 0

    def interpolate(self, frame0, frame1, t):
        raise AssertionError("one by one")

    def interpolate_many(self, frame0, frame1, times):
        self.running, self.calls = self.running + 1, self.calls + 1
        self.most, self.pictures = max(self.most, self.running), self.pictures + len(times)
        time.sleep(0.002)
        self.running -= 1
        if self.calls == self.fail_at:
            raise MemoryError("here")
        return [torch.lerp(frame0, frame1, t) for t in times]


def planes(number, dtype):
    values = np.random.default_rng(number).random((3, 4, 5))
    return tuple(values.astype(dtype) if np.dtype(dtype).kind == "f" else (values * 255).astype(dtype))


def ask(streams, number, place, dtype=np.float32, times=TIMES):
    return streams.picture(number, 0, lambda: (planes(number, dtype), planes(number + 1, dtype)), times, place)


def in_order(count=1, dtype=np.float32):
    streams = Streams([Stream(Slow(), "cpu") for _ in range(count)])
    return {(n, p): np.stack(ask(streams, n, p, dtype)).copy() for n in range(FRAMES) for p in range(3)}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
@pytest.mark.parametrize("count", [1, 3])
def test_any_order_by_several_threads(count, dtype):
    expected, models = in_order(dtype=dtype), [Slow() for _ in range(count)]
    streams = Streams([Stream(model, "cpu") for model in models])
    asked = [(n, p) for n in range(FRAMES) for p in range(3)] * 2
    np.random.default_rng(0).shuffle(asked)
    with ThreadPoolExecutor(6) as pool:
        for key, made in zip(asked, pool.map(lambda key: np.stack(ask(streams, *key, dtype)), asked)):
            assert np.array_equal(made, expected[tuple(key)]) and made.dtype == expected[tuple(key)].dtype
    assert all(model.most == 1 for model in models), "a model had two threads"


def test_in_order_each_call_is_made_once_and_forgotten():
    model = Slow()
    streams = Streams([Stream(model, "cpu")])
    for n in range(FRAMES):
        for p in range(3):
            ask(streams, n, p)
        assert len(streams._made) == 0
    assert model.calls == FRAMES


def test_what_nobody_fetches_does_not_gather():
    streams = Streams([Stream(Slow(), "cpu")])
    for n in range(FRAMES):
        ask(streams, n, 1)
    assert len(streams._made) == 2


def test_threads_that_ask_for_one_call_share_it():
    model, gate = Slow(), threading.Barrier(3)
    streams = Streams([Stream(model, "cpu") for _ in range(1)])

    def one(place):
        gate.wait()
        return ask(streams, 5, place)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(one, range(3)))
    assert model.calls == 1 and len(streams._made) == 0


def test_a_frame_is_handed_to_the_model_once():
    """The same tensor comes again, by which a model knows that it has encoded it."""
    seen = []

    class Watched(Slow):
        def interpolate_many(self, frame0, frame1, times):
            seen.append((frame0, frame1))
            return super().interpolate_many(frame0, frame1, times)

    streams = Streams([Stream(Watched(), "cpu")])
    for n in (3, 4, 7):
        ask(streams, n, 0, times=(0.5,))
    assert seen[1][0] is seen[0][1] and seen[2][0] is not seen[1][1]


def test_an_error_reaches_everybody_and_the_next_try_works():
    model = Slow()
    model.fail_at = 1
    streams, gate = Streams([Stream(model, "cpu")]), threading.Barrier(3)

    def one(place):
        gate.wait()
        try:
            return ask(streams, 5, place)
        except MemoryError as error:
            return error

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(one, range(3)))
    assert any(isinstance(result, MemoryError) for result in results)
    assert np.array_equal(np.stack(ask(streams, 5, 2)), in_order()[5, 2])
