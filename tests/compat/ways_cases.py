"""Functions with ways through them, for the bytecode of any Python: calls of each, and whether they took every way."""

import contextlib


def plain(x, n):
    if n > 3:
        return x + 1
    return x


def choice(x, n):
    return x if n > 3 else x + 1


def words(x, n, m):
    return (n > 3 and m > 2) or x


def loop(x, n):
    total = 0
    for i in range(n):
        if i == 2:
            total += x
        total += 1
    return total


def loop_else(x, n):
    for i in range(5):
        if i == n:
            break
    else:
        return x
    return -x


def listed(x, n):
    return [i * x for i in range(n) if i != 2]


def all_listed(x, n):
    return [i * x for i in range(n) if i != 200]


def summed(x, n):
    return sum(i for i in range(n) if i < 3)


def all_summed(x, n):
    return sum(i for i in range(n) if i < 300)


def mapped(x, n):
    return {i: x for i in range(n) if i < 300}


def repeated(x, n):
    while n > 0:
        n -= 1
    return x


def default(x, n=None):
    if n is None:
        n = 1
    return x * n


def given(x, n=None):
    return x if n is not None else x * 2


def raising(x, n):
    if n < 0:
        raise ValueError("no")
    return x


def asserting(x, n):
    assert n > 0, "no"
    return x


def caught(x, n):
    try:
        return x / n
    except ZeroDivisionError:
        return x


def within(x, n):
    with contextlib.suppress(KeyError):
        if n > 5:
            return x
    return x + n


def three(x, n):
    if n == 1:
        y = x
    elif n == 2:
        y = x * 2
    else:
        y = x * 3
    return y


def matched(x, n):
    match n:
        case 1:
            return x
        case 2 | 3:
            return x * 2
    return x * 3


def inner(x, n):
    def g(k):
        if k > 10:
            return x
        return x + 1

    return g(n)


def short(x, n):
    return (lambda k: x if k > 10 else -x)(n)


def assigned(x, n):
    if (m := n + 1) > 3:
        return x * m
    return x


def chained(x, n):
    return x if 0 < n < 10 else -x


def constant(x, n):
    if len("abc") > 2:
        return x
    return -x


def finished(x, n):
    try:
        y = x + n
    finally:
        x = 0
    return y


def helper(k):
    return k if k > 5 else -k


def helped(x, n):
    return x * helper(n)


def helped_by_seven(x, n):
    return x * helper(7)


def again(x, n):
    return x if n < 1 else again(-x, n - 1)


def kept(x, n):
    cache = {}
    if n not in cache:
        cache[n] = x
    return cache[n]


def starred(x, *rest):
    if len(rest) > 1:
        return x
    return -x


class Kind:
    def __init__(self, n):
        self.n = n

    def __call__(self, x):
        return x if self.n > 3 else -x


def by_object(x, n):
    return Kind(n)(x)


LARGE, BOTH = [(1, 5), (1, 6)], [(1, 5), (1, 2)]
# The first call of a function is as good as any other: each is tried both ways round.
CASES = [
    (plain, BOTH, True), (plain, LARGE, False), (choice, BOTH, True), (choice, [(1, 1), (2, 2)], False),
    (words, [(1, 5, 5), (1, 6, 1), (1, 1, 1)], True), (words, [(1, 5, 5), (1, 6, 6)], False),
    (loop, BOTH, True), (loop, [(1, 1), (1, 2)], False), (loop_else, [(1, 2), (1, 9)], True),
    (loop_else, [(1, 2), (1, 3)], False), (listed, LARGE, True), (all_listed, LARGE, False), (summed, LARGE, True),
    (all_summed, LARGE, False), (mapped, LARGE, False), (repeated, [(1, 5), (1, 0)], True), (repeated, LARGE, False),
    (default, [(1,), (2,)], True), (default, [(1, 2), (2, 3)], False), (given, [(1, 2), (2, None)], True),
    (given, [(1, 2), (2, 3)], False), (raising, BOTH, True), (asserting, BOTH, True),
    (caught, [(1, 2), (1, 0)], True), (caught, BOTH, False), (within, [(1, 1), (1, 9)], True),
    (within, [(1, 1), (1, 2)], False),
    (three, [(1, 1), (1, 2), (1, 3)], True), (three, [(1, 1), (1, 2)], False),
    (matched, [(1, 1), (1, 2), (1, 3), (1, 4)], True), (matched, [(1, 1), (1, 2)], False),
    (inner, [(1, 1), (1, 20)], True), (inner, BOTH, False), (short, [(1, 1), (1, 20)], True), (short, BOTH, False),
    (assigned, BOTH, True), (assigned, LARGE, False), (chained, [(1, 5), (1, 0), (1, 20)], True),
    (chained, BOTH, False), (constant, BOTH, True), (finished, BOTH, True), (helped, [(1, 7), (1, 1)], True),
    (helped, [(1, 7), (1, 8)], False), (helped_by_seven, BOTH, True), (again, [(1, 3)], True), (kept, BOTH, False),
    (starred, [(1, 2, 3), (1, 2)], True), (starred, [(1, 2, 3), (1, 2, 4)], False),
    (by_object, BOTH, True), (by_object, LARGE, False),
]  # fmt: skip
