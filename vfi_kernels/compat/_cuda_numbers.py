"""Numbers and memory of a kernel in CUDA C: of all threads at once, an array with one element for each, or one number
where all have the same."""

import functools
from dataclasses import dataclass

import numpy as np

from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat._cuda_tokens import NotUnderstood

Mask = np.ndarray  # bool, of all threads: those for which something is done
Kind = np.dtype  # of numbers
KINDS: dict[str, Kind] = {name: np.dtype(name) for name in (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64",
)}  # fmt: skip
RANK = {
    KINDS[name]: n for n, name in enumerate(("int32", "uint32", "int64", "uint64", "float16", "float32", "float64"))
}
LITERALS = {"true": np.bool_(True), "false": np.bool_(False), "INFINITY": np.float32("inf"), "NAN": np.float32("nan"),
            "FLT_MAX": np.finfo(np.float32).max, "FLT_MIN": np.finfo(np.float32).tiny, "NULL": np.int64(0),
            "FLT_EPSILON": np.finfo(np.float32).eps, "M_PI": np.float64(np.pi), "INT_MAX": np.int32(2**31 - 1),
            "INT_MIN": np.int32(-(2**31)), "warpSize": np.int32(32)}  # fmt: skip

OUTSIDE = "an access outside of its tensors"


@dataclass(frozen=True)
class Pointer:
    """Element `at` of a memory, a number for all threads or one for each; `sizes`: of an array, how many
    elements apart its rows are, the rows of these, and so on."""

    memory: np.ndarray  # one dimension
    at: Foreign
    sizes: tuple[int, ...] = ()

    def moved(self, by: Foreign) -> "Pointer":
        return Pointer(self.memory, np.add(self.at, by, dtype=np.int64, casting="unsafe"), self.sizes)

    def places(self, mask: Mask) -> Foreign:
        """Where it points to for the threads of `mask`. NotUnderstood if that is outside of its memory."""
        at = self.at if np.ndim(self.at) == 0 else self.at[mask]
        if np.size(at) and (np.min(at) < 0 or np.max(at) >= self.memory.size):
            raise NotUnderstood(OUTSIDE)
        return at

    def read(self, mask: Mask) -> Foreign:
        at = np.asarray(self.at)
        at = np.where(mask, at, 0) if at.ndim else at
        if at.min() < 0:
            raise NotUnderstood(OUTSIDE)
        try:
            return self.memory[at]
        except IndexError:
            raise NotUnderstood(OUTSIDE) from None

    def write(self, value: Foreign, mask: Mask) -> None:
        at, value = self.places(mask), converted(value, self.memory.dtype)
        if mask.any():
            self.memory[at] = (value[mask][-1] if np.ndim(at) == 0 else value[mask]) if np.ndim(value) else value

    def cast(self, number: str) -> "Pointer":
        """The same place, read as other numbers."""
        if number in ("", self.memory.dtype.name):
            return self
        whole = self.memory[: self.memory.size * self.memory.itemsize // 8 * 8 // self.memory.itemsize]
        memory = (whole if whole.size < self.memory.size else self.memory).view(number)
        return Pointer(memory, np.asarray(self.at) * self.memory.itemsize // memory.itemsize)


@functools.lru_cache(maxsize=1024)
def literal(text: str) -> Foreign:
    """A number as it is written."""
    low = text.lower()
    if low.startswith("0x"):
        return whole(int(low.rstrip("ul"), 16), low)
    if any(mark in low for mark in ".ef"):
        return np.float32(low.rstrip("fl")) if low.endswith("f") else np.float64(low.rstrip("l"))
    digits = low.rstrip("ul")
    return whole(int(digits, 8 if digits.startswith("0") and len(digits) > 1 else 10), low)


def whole(value: int, text: str) -> Foreign:
    unsigned, small = "u" in text, value < 2**31 and "l" not in text
    if value >= 2**64:
        raise NotUnderstood(f"the number {value}")
    if unsigned or value >= 2**63:
        return np.uint32(value) if value < 2**32 and "l" not in text else np.uint64(value)
    return np.int32(value) if small else np.int64(value)


def cast(value: Foreign, number: str) -> Foreign:
    if number not in KINDS:
        raise NotUnderstood(f"a number of type {number or 'void'}")
    return converted(value, KINDS[number])


def converted(value: Foreign, kind: Kind) -> Foreign:
    """As CUDA converts: to whole numbers towards 0, NaN to 0, what is too large to the largest."""
    if isinstance(value, Pointer):
        raise NotUnderstood("a pointer as a number")
    if value.dtype is kind or value.dtype == kind:
        return value
    if kind.kind == "b":
        return value != 0
    if value.dtype.kind == "f" and kind.kind in "iu":
        limits = np.iinfo(kind)
        exact = np.nan_to_num(np.trunc(value.astype(np.float64)), nan=0.0)
        within = np.clip(exact, float(limits.min), float(limits.max)).astype(np.float64)
        top = within >= float(limits.max)
        return np.where(top, limits.max, np.where(top, 0, within).astype(kind)).astype(kind)[()]
    return value.astype(kind)


def common(a: Foreign, b: Foreign) -> tuple[Foreign, Foreign]:
    """Both in the type in which C computes with them."""
    first, second = a.dtype, b.dtype
    if first is second and first in RANK:
        return a, b
    kind = max(LEAST, first, second, key=lambda kind: RANK.get(kind, -1))
    return converted(a, kind), converted(b, kind)


def divided(a: Foreign, b: Foreign, rest: bool) -> Foreign:
    """Whole numbers towards 0; by 0, which threads that do not take part may have, 0."""
    if a.dtype.kind == "f":
        if rest:
            raise NotUnderstood("% of numbers with fractions")
        return np.divide(a, b)
    by = np.where(b == 0, b.dtype.type(1), b)[()]
    left = np.fmod(a, by)
    return left if rest else (a - left) // by


COMPUTED: dict[str, Function] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": lambda a, b: divided(a, b, False),
    "%": lambda a, b: divided(a, b, True), "==": np.equal, "!=": np.not_equal, "<": np.less, ">": np.greater,
    "<=": np.less_equal, ">=": np.greater_equal, "&": np.bitwise_and, "|": np.bitwise_or, "^": np.bitwise_xor,
    "<<": np.left_shift, ">>": np.right_shift,
}  # fmt: skip
WHOLE_ONLY = ("&", "|", "^", "<<", ">>")


def computed(mark: str, a: Foreign, b: Foreign) -> Foreign:
    """A binary operation of C, of numbers, or of a pointer and a number."""
    if isinstance(a, Pointer) and isinstance(b, Pointer):
        if mark == "-" and a.memory is b.memory:
            return np.asarray(np.subtract(a.at, b.at), dtype=np.int64)[()]
        raise NotUnderstood(f"{mark} of two pointers")
    if isinstance(b, Pointer) and mark == "+":
        a, b = b, a
    if isinstance(a, Pointer):
        if mark not in ("+", "-") or b.dtype.kind not in "iu":
            raise NotUnderstood(f"{mark} of a pointer")
        return a.moved(b if mark == "+" else -b.astype(np.int64))
    if isinstance(b, Pointer):
        raise NotUnderstood(f"{mark} of a pointer")
    a, b = common(a, b)
    if mark in WHOLE_ONLY and a.dtype.kind == "f":
        raise NotUnderstood(f"{mark} of numbers with fractions")
    return COMPUTED[mark](a, b)


def half_away(x: Foreign) -> Foreign:
    return np.copysign(np.floor(np.abs(x) + x.dtype.type(0.5)), x)


# Functions of CUDA of one number with a fraction; the same with an f behind is that of float.
OF_ONE: dict[str, Function] = {
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint, "nearbyint": np.rint, "round": half_away,
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "exp": np.exp, "exp2": np.exp2, "log": np.log, "log2": np.log2,
    "log10": np.log10, "sin": np.sin, "cos": np.cos, "tan": np.tan, "tanh": np.tanh, "fabs": np.abs, "expm1": np.expm1,
    "log1p": np.log1p, "cbrt": np.cbrt, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "__frcp_rn": lambda x: 1 / x, "__saturate": lambda x: np.clip(x, 0, 1),
}  # fmt: skip
OF_TWO: dict[str, Function] = {
    "fmin": np.fmin, "fmax": np.fmax, "fmod": np.fmod, "pow": np.power, "atan2": np.arctan2, "hypot": np.hypot,
    "copysign": np.copysign, "__fdivide": np.divide, "__fmul_rn": np.multiply, "__fadd_rn": np.add,
    "__fdiv_rn": np.divide, "__fsub_rn": np.subtract,
}  # fmt: skip
TESTS: dict[str, Function] = {
    "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite, "signbit": np.signbit,
}  # fmt: skip
ROUNDED = {  # __float2int_rd and its kind
    "rn": np.rint, "rd": np.floor, "ru": np.ceil, "rz": np.trunc,
}  # fmt: skip
LEAST = KINDS["int32"]  # what is smaller is computed in it
BITS = {"__float_as_int": "int32", "__int_as_float": "float32", "__float_as_uint": "uint32",
        "__uint_as_float": "float32", "__longlong_as_double": "float64", "__double_as_longlong": "int64"}  # fmt: skip


def of_numbers(name: str, given: list[Foreign]) -> Foreign:
    """A function of CUDA that has nothing to do with memory or threads. NotUnderstood if it is none."""
    if any(isinstance(g, Pointer) for g in given):
        raise NotUnderstood(f"the function {name} of pointers")
    short = name[2:] if name.startswith("__") and name[2:].rstrip("f") in OF_ONE else name
    base = short[:-1] if short.endswith("f") and (short[:-1] in OF_ONE or short[:-1] in OF_TWO) else short
    count = len(given)
    if count == 1 and base in OF_ONE:
        wide = given[0].dtype == np.float64 and base == short
        return OF_ONE[base](cast(given[0], "float64" if wide or (given[0].dtype.kind in "iub" and base == short)
                                 else "float32"))  # fmt: skip
    if count == 2 and base in OF_TWO:
        a, b = common(*given)
        number = "float32" if base != short or a.dtype == np.float32 else "float64"
        return OF_TWO[base](cast(a, number), cast(b, number))
    if count == 2 and base in ("min", "max"):
        a, b = common(*given)
        return (np.fmin if base == "min" else np.fmax)(a, b)
    if count == 1 and base in ("abs", "labs"):
        return np.abs(given[0])
    if count == 1 and base in TESTS:
        return TESTS[base](given[0])
    if count == 1 and base in BITS:
        return given[0].view(BITS[base])
    if count == 3 and base in ("fma", "fmaf", "__fmaf_rn"):
        return computed("+", computed("*", given[0], given[1]), given[2])
    if count == 1 and base.startswith("__float2int_") and base[-2:] in ROUNDED:
        return cast(ROUNDED[base[-2:]](given[0]), "int32")
    if count == 1 and base in ("__int2float_rn", "__float2half", "__half2float"):
        return cast(given[0], "float32")
    raise NotUnderstood(f"the function {name or 'called'}")
