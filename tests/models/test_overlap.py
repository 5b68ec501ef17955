"""Reading ahead and writing behind: in order, bounded, with errors where they belong, and nothing left running."""

import threading
import time

import pytest

from vfi.video.overlap import Ahead, Behind


def threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("vfi ")}


def test_all_comes_in_order_and_a_few_ahead():
    taken = []

    def source():
        for number in range(30):
            taken.append(number)
            yield number

    ahead = Ahead(source())
    for number, item in enumerate(ahead):
        time.sleep(0.001)
        assert item == number and len(taken) <= number + 6
    ahead.close()
    assert number == 29 and not threads()


@pytest.mark.parametrize("asked", (0, 1, 5))
def test_reading_is_stopped_at_any_time(asked):
    closed = threading.Event()

    def source():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    ahead = Ahead(source())
    for _, item in zip(range(asked), ahead):
        assert item == 1
    ahead.close()
    ahead.close()
    assert not threads()


@pytest.mark.parametrize("kind", (ValueError, KeyboardInterrupt, MemoryError))
def test_what_fails_in_reading_is_raised_where_it_is_read(kind):
    def source():
        yield 1
        raise kind("no more")

    ahead = Ahead(source())
    found = []
    with pytest.raises(kind, match="no more"):
        for item in ahead:
            found.append(item)
    ahead.close()
    assert found == [1] and not threads()


def test_calls_are_made_in_order_and_awaited():
    done = []
    behind = Behind()
    for number in range(20):
        behind.call(lambda number=number: (time.sleep(0.001), done.append(number)))
    behind.wait()
    assert done == list(range(20))
    behind.close()
    behind.close()
    assert not threads()


def test_after_a_call_that_fails_none_is_made():
    done = []

    def fail():
        raise OSError("no space left")

    behind = Behind()
    with pytest.raises(OSError, match="no space left"):
        behind.call(fail)
        for number in range(20):
            behind.call(lambda number=number: done.append(number))
            time.sleep(0.005)
    with pytest.raises(OSError, match="no space left"):
        behind.wait()
    behind.close()
    assert not done and not threads()


def test_what_waits_is_done_before_the_end():
    done = []
    behind = Behind()
    for number in range(3):
        behind.call(lambda number=number: (time.sleep(0.01), done.append(number)))
    behind.close()
    assert done == [0, 1, 2]
