"""What the dimensions of the results of torch's functions mean, where they are of single pixels (_local.py lists them).

Each dimension of a tensor that comes from a block's input has a letter: N for patches, H, W, and C for all others.
Other tensors are constants. A rule gets the call and returns the letters of the result, or None where it mixes pixels.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from vfi_kernels._types import Arguments, Function, Options

Letters = str
IMAGE = "NCHW"


class Call:
    """A call of a function: its arguments, and the letters of those that come from the input."""

    def __init__(self, name: str, args: Arguments, kwargs: Options, letters: Callable[[object], Letters | None]):
        self.name, self.args, self.kwargs, self.letters = name, args, kwargs, letters

    def given(self, at: int, name: str, default: object = None) -> Any:
        return self.args[at] if len(self.args) > at else self.kwargs.get(name, default)

    @property
    def first(self) -> Any:
        return self.given(0, "input")

    def numbers(self, at: int, name: str) -> tuple[int, ...]:
        """Numbers that are given one by one or as a list."""
        value = self.given(at, name)
        return tuple(self.args[at:]) if isinstance(value, int) and len(self.args) > at else tuple(value)


def _is_plain(call: Call, at: int = 1) -> bool:
    """Whether only the arguments before this one come from the input."""
    rest = [*call.args[at:], *(v for name, v in call.kwargs.items() if name != "input")]
    return all(call.letters(t) is None for t in rest if isinstance(t, Tensor))


def broadcast(call: Call) -> Letters | None:
    """Pixels meet the same pixels, and constants have one value for all of them."""
    if call.name == "where" and len(call.args) + len(call.kwargs) < 3:
        return None  # the places where something holds
    tensors = [t for t in (*call.args, *call.kwargs.values()) if isinstance(t, Tensor)]
    rank = max(t.dim() for t in tensors)
    result = ["C"] * rank
    for letters in [call.letters(t) for t in tensors]:
        for i, letter in enumerate(letters or "", rank - len(letters or "")):
            if letter != "C":
                result[i] = letter
    for t in tensors:
        letters = call.letters(t)
        for i in range(t.dim()):
            want = result[rank - t.dim() + i]
            if want != (letters[i] if letters else "C") and t.shape[i] != 1:
                return None
    spatial = [letter for letter in result if letter != "C"]
    return "".join(result) if len(set(spatial)) == len(spatial) else None


def same(call: Call) -> Letters | None:
    return call.letters(call.first) if _is_plain(call) else None


def prelu(call: Call) -> Letters | None:
    letters = call.letters(call.first)
    return letters if letters and letters[1:2] == "C" and _is_plain(call) else None


def evaluated_norm(call: Call) -> Letters | None:
    return prelu(call) if not call.given(5, "training", False) and call.given(1, "running_mean") is not None else None


def dropout(call: Call) -> Letters | None:
    at = 3 if call.name == "rrelu" else 2
    return call.letters(call.first) if call.given(at, "training", call.given(at, "train", True)) is False else None


def along(call: Call) -> Letters | None:
    """Sums, sorts and the like along dimensions of single pixels."""
    letters, at = call.letters(call.first), ALONG[call.name]
    dims = next((call.kwargs[key] for key in ("dim", "dims", "axis") if key in call.kwargs), None)
    if dims is None:
        if call.name == "flip" and len(call.args) > 2:
            dims = call.args[1:]
        else:
            dims = call.args[at] if len(call.args) > at else call.kwargs.get("other", DEFAULT.get(call.name))
    if isinstance(dims, Tensor):
        return broadcast(call) if call.name in ("max", "min") else None
    if dims is None or isinstance(dims, bool) or not letters or not _is_plain(call):
        return None
    where = {d % len(letters) for d in (dims if isinstance(dims, (list, tuple)) else (dims,))}
    if not where or any(letters[d] != "C" for d in where):
        return None
    keeps = call.name in KEEPS or call.given(KEEPDIM.get(call.name, at + 1), "keepdim", False) is True
    return letters if keeps else "".join(c for i, c in enumerate(letters) if i not in where)


def joined(call: Call) -> Letters | None:
    tensors, dim = call.given(0, "tensors"), call.given(1, "dim", call.kwargs.get("axis"))
    letters_of_tensors = {call.letters(t) for t in tensors}
    letters = letters_of_tensors.pop() if len(letters_of_tensors) == 1 else None
    if letters is None or dim is None:
        return None
    if call.name == "stack":
        at = dim % (len(letters) + 1)
        return letters[:at] + "C" + letters[at:]
    return letters if letters[dim] == "C" else None


def parts(call: Call) -> Letters | None:
    """Pieces along the channels."""
    letters = call.letters(call.first)
    dim = call.given({"unbind": 1, "select": 1, "narrow": 1}.get(call.name, 2), "dim", 0)
    if not letters or letters[dim] != "C" or not _is_plain(call):
        return None
    dim %= len(letters)
    return letters[:dim] + letters[dim + 1 :] if call.name in ("unbind", "select") else letters


def indexed(call: Call) -> Letters | None:
    letters, index = call.letters(call.first), call.args[1]
    index = index if isinstance(index, tuple) else (index,)
    if not letters or not all(i is None or i is ... or type(i) in (int, slice) for i in index):
        return None
    missing = len(letters) - sum(i is not None and i is not ... for i in index)
    full, result, at = [slice(None)] * missing, "", 0
    if ... in index:
        place = index.index(...)
        index = (*index[:place], *full, *index[place + 1 :])
    else:
        index = (*index, *full)
    for i in index:
        if i is None:
            result += "C"
            continue
        if letters[at] != "C" and i != slice(None):
            return None
        result, at = result + ("" if type(i) is int else letters[at]), at + 1
    return result


def assigned(call: Call) -> Letters | None:
    """Parts of the channels that are written: by constants of one value for all pixels, or by the same pixels."""
    place, value = indexed(call), call.args[2]
    if place is None or not isinstance(value, Tensor):
        return place
    letters = call.letters(value)
    if letters is not None:
        return place if place.endswith(letters) else None
    alike = all(letter == "C" or n == 1 for letter, n in zip(reversed(place), reversed(value.shape)))
    return place if alike else None


def expanded(call: Call) -> Letters | None:
    letters, size = call.letters(call.first), call.numbers(1, "size")
    if not letters:
        return None
    same = size[len(size) - len(letters) :]
    fits = all(c == "C" or n in (-1, m) for c, n, m in zip(letters, same, call.first.shape))
    return "C" * (len(size) - len(letters)) + letters if fits else None


def moved(call: Call) -> Letters | None:
    letters = call.letters(call.first)
    ends = [call.given(1, "source"), call.given(2, "destination")]
    if not letters or any(end is None for end in ends):
        return None
    rank = len(letters)
    source, to = ([d % rank for d in (end if isinstance(end, (list, tuple)) else (end,))] for end in ends)
    rest = iter([d for d in range(rank) if d not in source])
    return "".join(letters[source[to.index(d)] if d in to else next(rest)] for d in range(rank))


def permuted(call: Call) -> Letters | None:
    letters = call.letters(call.first)
    return "".join(letters[d] for d in call.numbers(1, "dims")) if letters else None


def transposed(call: Call) -> Letters | None:
    letters = list(call.letters(call.first) or "")
    a, b = call.given(1, "dim0"), call.given(2, "dim1")
    if not letters or type(a) is not int or type(b) is not int:
        return None
    letters[a], letters[b] = letters[b], letters[a]
    return "".join(letters)


def squeezed(call: Call) -> Letters | None:
    letters, dim = call.letters(call.first), call.given(1, "dim")
    if not letters or type(dim) is not int:
        return None
    if call.name == "unsqueeze":
        at = dim % (len(letters) + 1)
        return letters[:at] + "C" + letters[at:]
    at = dim % len(letters)
    if letters[at] != "C":
        return None
    return letters if call.first.shape[at] != 1 else letters[:at] + letters[at + 1 :]


def size_of_view(call: Call) -> tuple[int, ...]:
    """The shape that a view gets."""
    views: dict[str, Function] = {
        "view": Tensor.view,
        "reshape": torch.reshape,
        "flatten": torch.flatten,
        "unflatten": torch.unflatten,
    }
    args = (call.first, *call.args[1:]) if call.args else ()
    if call.name == "reshape" and len(call.args) > 1 and isinstance(call.args[1], int):
        args = (call.first, call.args[1:])
    view = views[call.name](*args, **call.kwargs)
    return tuple(view.shape) if view.dim() > 0 else ()


def reshaped(call: Call, size: Iterable[int]) -> Letters | None:
    """Each of N, H and W must stay a dimension of its own: as many elements before it as before, and as many in it."""
    letters, before = call.letters(call.first) or "", 1
    result, used = list("C" * len(tuple(size))), 0
    for letter, n in zip(letters, call.first.shape):
        if letter != "C":
            prefix, place = 1, None
            for i, m in enumerate(size):
                if i >= used and place is None and prefix == before and m == n:
                    place = i
                prefix *= m
            if place is None:
                return None
            result[place], used = letter, place + 1
        before *= n
    return "".join(result)


def linear(call: Call) -> Letters | None:
    letters, other = call.letters(call.first), call.given(1, "weight", call.kwargs.get("other"))
    fits = isinstance(other, Tensor) and other.dim() == 2
    return letters if letters and letters[-1] == "C" and _is_plain(call) and fits else None


def layer_norm(call: Call) -> Letters | None:
    letters, size = call.letters(call.first), call.given(1, "normalized_shape")
    return letters if letters and set(letters[-len(size) :]) == {"C"} and len(size) and _is_plain(call) else None


def channels(call: Call) -> Letters | None:
    return IMAGE if call.letters(call.first) == IMAGE and _is_plain(call) else None


def words(text: str) -> list[str]:
    return text.split()


# Functions along dimensions, and where among their arguments these stand; the others of them drop these dimensions.
ALONG = {
    **dict.fromkeys(words("""
all amax amin any argmax argmin argsort cummax cummin cumprod cumsum flip glu log_softmax logcumsumexp logsumexp max
mean median min nanmean nansum prod softmax softmin sort std std_mean sum var var_mean
    """), 1),
    **dict.fromkeys(words("norm normalize roll topk vector_norm"), 2),
}  # fmt: skip
KEEPS = frozenset(
    words("""
argsort cummax cummin cumprod cumsum flip glu log_softmax logcumsumexp normalize roll softmax softmin sort topk
""")
)
KEEPDIM = dict.fromkeys(("norm", "std", "std_mean", "var", "var_mean"), 3)
DEFAULT = {"normalize": 1, **dict.fromkeys(("argsort", "glu", "sort", "topk"), -1)}
