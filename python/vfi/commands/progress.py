"""How far a long work is: on a terminal, in a log, and for programs."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import ModuleType
from typing import Literal, TypeVar

from vfi.errors import require

T = TypeVar("T")
# Or what is called after each item with how many are done, and how many there will be, if that is known.
Total = int | None | Callable[[], int | None]  # how many there will be, now and later; None: not known
Shown = Literal["auto", "json", "none"] | Callable[[int, int | None], object]
_LINE, _JSON = 60.0, 0.5  # seconds from a line to the next


def shown(items: Iterator[T], total: Total, name: str, how: Shown) -> Iterator[T]:
    """The same items. On a terminal a bar is drawn; elsewhere a line a minute is written to stderr.

    "json": a line of JSON at least every half second, and one at the end, with `frames`, `total`, `per_second` and
    `seconds_left`; null where not known. "none": nothing.
    """
    if how == "none":
        return items
    if callable(how):
        return _told(items, total, how)
    in_notebook = "ipykernel" in sys.modules
    if how == "auto" and (in_notebook or sys.stderr.isatty()):
        return _drawn(items, total, name, require("tqdm.auto" if in_notebook else "tqdm"))
    return _lines(items, total, name, _JSON if how == "json" else _LINE, as_json=how == "json")


def _now(total: Total) -> int | None:
    return total() if callable(total) else total


def _drawn(items: Iterator[T], total: Total, name: str, tqdm: ModuleType) -> Iterator[T]:
    bar = tqdm.tqdm(items, total=_now(total), unit="frame", desc=name)
    for item in bar:
        yield item
        bar.total = _now(total)


def _told(items: Iterator[T], total: Total, call: Callable[[int, int | None], object]) -> Iterator[T]:
    for count, item in enumerate(items, 1):
        yield item
        call(count, _now(total))


def _lines(items: Iterator[T], total: Total, name: str, every: float, *, as_json: bool) -> Iterator[T]:
    begun = last = time.monotonic()
    count = 0
    for item in items:
        yield item
        count, now = count + 1, time.monotonic()
        if now - last >= every:
            last = now
            _write(count, _now(total), now - begun, name, as_json=as_json)
    if as_json:
        _write(count, count, time.monotonic() - begun, name, as_json=True)


def _write(count: int, total: int | None, seconds: float, name: str, *, as_json: bool) -> None:
    rate = count / seconds if seconds else 0.0
    left = (total - count) / rate if total is not None and rate else None
    if as_json:
        told = {"frames": count, "total": total, "per_second": round(rate, 3)}
        line = json.dumps({**told, "seconds_left": None if left is None else round(max(0.0, left), 1)})
    else:
        line = f"{name}: {count} of {'?' if total is None else total} frames, {rate:.2f} per second"
        line += "" if left is None else f", {timedelta(seconds=round(max(0.0, left)))} left"
    print(line, file=sys.stderr, flush=True)
