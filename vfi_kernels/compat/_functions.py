"""Functions around kernels, autograd functions, and what others write in plain torch: which function of ours computes
the same, in every situation."""

import contextlib
import functools
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vfi_kernels._types import Arguments, Foreign, Function, Options
from vfi_kernels.compat import _coverage, _kernels, _situations, _trials
from vfi_kernels.compat._comparing import Unread, by_shape, described, kernels_in, radius_of
from vfi_kernels.compat._kernels import KERNELS, NOT_IMPLEMENTED, SAME, Kernel, Ours
from vfi_kernels.compat._launches import launches
from vfi_kernels.compat._limits import Comparing, limits_of, limits_of_volume
from vfi_kernels.compat._situations import AGAIN, DTYPES, FIRST, Situation, alike, prepared
from vfi_kernels.compat._trials import CannotRun, Misbehaves
from vfi_kernels.compat._warp_trials import Differs

NAMED = re.compile(r"splat|corr(?!ect|upt|espond)|cost_?vol|deform_?conv|sepconv|adacof", re.IGNORECASE)
PLACEHOLDERS = {  # functions that are not implemented, by name and parameters
    ("softsplat", ("tenIn", "tenFlow", "tenMetric", "strMode")): "compat.softsplat.softsplat",
    ("softsplat", ("tenInput", "tenFlow", "tenMetric", "strMode")): "compat.softsplat.softsplat",
    ("FunctionSoftsplat", ("tenInput", "tenFlow", "tenMetric", "strType")): "compat.ebme.FunctionSoftsplat",
    ("FunctionCorrelation", ("tenFirst", "tenSecond")): "compat.ebme.FunctionCorrelation",
    ("FunctionCorrelation", ("tenOne", "tenTwo")): "compat.softsplat.FunctionCorrelation",
}
# Of a cost volume, besides its radius.
COSTS: tuple[Options, ...] = (
    {}, {"normalize": False}, {"cost": "l1"}, {"normalize": False, "cost": "l1"}, {"patch_dilation": 2},
)  # fmt: skip
Parameters = Sequence[inspect.Parameter]
Outcome = tuple[object, list[Tensor | None]]


def plan_for(function: Function, name: str) -> Ours:
    """What a function that is called `name` computes. Differs if it is nothing of ours."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in ("ctx", "self")]
    if _kernels.is_not_implemented(function):
        by = PLACEHOLDERS.get((function.__name__, tuple(p.name for p in parameters)))
        if by is None:
            raise Differs("it is not implemented there")
        return Ours(by, NOT_IMPLEMENTED)
    return identified(function, name, parameters, function)


roles: dict[type, "Ours | Exception"] = {}


def role_of(kernel: type) -> Ours:
    """Which function of ours an autograd function is."""
    if kernel not in roles:
        try:
            with _coverage.anew():
                roles[kernel] = role_found(kernel)
                _coverage.expect_every_way()
        except (CannotRun, Differs) as error:
            roles[kernel] = error
    found = roles[kernel]
    if isinstance(found, Exception):
        raise found
    return found


def role_found(kernel: Foreign) -> Ours:
    parameters = list(inspect.signature(kernel.forward).parameters.values())[1:]
    if _kernels.is_not_implemented(kernel.forward):
        for known in kinds_named(kernel.__name__):
            if len(known.arguments(FIRST)) == len(parameters):
                return Ours(known.by, NOT_IMPLEMENTED)
    try:
        return identified(kernel.apply, kernel.__name__, parameters, kernel)
    except Unread as unread:
        for known in kinds_named(kernel.__name__):
            if known.by_shape and len(known.arguments(FIRST)) == len(parameters):
                return by_shape(kernel, known, str(unread))
        raise


def kinds_named(name: str) -> list[Kernel]:
    return [known for known in KERNELS if re.search(known.pattern, name, re.IGNORECASE)]


def identified(function: Function, name: str, parameters: Parameters, source: Foreign) -> Ours:
    """What `function` computes; `source`: whose module and closure are its own."""
    failed: Exception | None = None
    needed = sum(p.default is p.empty for p in parameters)
    simple = all(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
    for known in kinds_named(name) if simple else []:
        if not known.by_shape:
            if needed in (2, 3) and len(parameters) >= 2:
                return cost_volume(function, parameters, source)
            continue
        count = len(known.arguments(FIRST))
        if not needed <= count <= len(parameters):
            continue
        first = 0 if count == len(parameters) else count
        try:
            return compared(function, Ours(known.by, SAME, first=first), known.arguments, source)
        except Unread:
            raise
        except Differs as difference:
            failed = failed or difference
    names = ", ".join(p.name for p in parameters)
    raise failed or Differs(f"its parameters are ({names}), expected those of an op that we have")


def cost_volume(function: Function, parameters: Parameters, source: Foreign) -> Ours:
    """Of any radius, as its result says; a third argument may be that radius, or the side of its square."""
    third = parameters[2] if len(parameters) > 2 else None
    failed: Exception | None = None
    if third is None or (third.default is not third.empty and type(third.default) is not int):
        return volume_of(function, parameters, source, ())
    values: tuple[Foreign, ...] = (5, 9, 4) if third.default is third.empty else (third.default,)
    for value in values:
        try:
            return volume_of(function, parameters, source, (value,))
        except Unread:
            raise
        except (Differs, CannotRun) as error:
            failed = failed or error
    assert failed is not None
    raise failed


def volume_of(function: Function, parameters: Parameters, source: Foreign, third: tuple[int, ...]) -> Ours:
    """With this number as its third argument, if it has one."""
    given = [*prepared(_kernels.maps(FIRST), FIRST), *third]
    first = tried(function, given, _situations.leaves_of(given), source, FIRST)
    out = first[0]
    radius = radius_of(out)
    sized = {radius: "radius", 2 * radius + 1: "side"}.get(third[0], "") if third else ""
    fixed = not third or parameters[2].default is not inspect.Parameter.empty
    if not sized and not fixed:
        raise Differs(f"with {parameters[2].name}={third[0]} it gives costs of a radius of {radius}")
    failed: Exception = Differs("it computes something else")
    for size in (*([sized] if sized else []), *([""] if fixed else [])):
        for options in COSTS:
            ours = volume(size, radius, options, [p.name for p in parameters])
            arguments = functools.partial(maps_and, third if size else ())
            if not _situations.close(out, _trials.outcome(ours.answer, arguments(FIRST))[0]):
                continue
            try:
                return compared(function, ours, arguments, source, first)
            except Unread:
                raise
            except (Differs, CannotRun) as error:
                failed = error
    raise failed


def volume(sized: str, radius: int, options: Options, names: Sequence[str]) -> Ours:
    """vk.correlation, of this radius unless that is an argument."""
    count = 3 if sized else 2
    first = 0 if count == len(names) else count
    said = (*(() if sized else (("radius", radius),)), *options.items())
    if said == (("radius", 4),):
        return Ours(f"compat.{'ebme' if 'tenFirst' in names else 'softsplat'}.FunctionCorrelation", SAME, first=first)
    words = [*([f"{names[2]} is its {sized}"] if sized else []), *(f"{n}={v!r}" for n, v in said)]
    return Ours("vk.correlation", f"{SAME}: {', '.join(words)}", said, (), first, sized)  # type: ignore[arg-type]


def maps_and(third: tuple[int, ...], s: Situation) -> Arguments:
    """Two maps, and where the third is a size, another one in the second situation."""
    return [*_kernels.maps(s), *(n if s.variant == 0 else n - 2 if n > 2 else n + 2 for n in third)]


def compared(
    function: Function, ours: Ours, arguments: Function, source: Foreign, first: Outcome | None = None
) -> Ours:  # fmt: skip
    """`ours`, for the dtypes for which it is the same, if values and gradients are the same in all situations; `first`:
    what it gives in the first."""
    expect_same(function, ours, arguments, source, FIRST, first)
    is_volume = ours.by == "vk.correlation" or "Correlation" in ours.by
    for s in _situations.situations_of(source, launched_by(source), is_volume):
        if s is not FIRST:
            expect_same(function, ours, arguments, source, s)
    dtypes = [torch.float32]
    for dtype in DTYPES:
        with contextlib.suppress(Differs):
            expect_same(function, ours, arguments, source, _situations.of_dtype(dtype))
            dtypes.append(dtype)
    reason = ours.reason + ("; it has no gradient that runs here" if id(source) in no_gradients else "")
    comparing = Comparing(
        ours.answer,
        lambda change, given: tried(change(function), given, (), source, FIRST)[0],
        lambda s: expect_same(function, ours, arguments, source, s),
        id(source) in needs_gpu,
    )
    limits = limits_of_volume(comparing, arguments) if is_volume else limits_of(comparing, arguments)
    return replace(ours, dtypes=tuple(dtypes), reason=reason, limits=limits)


def expect_same(
    function: Function, ours: Ours, arguments: Function, source: Foreign, s: Situation, known: Outcome | None = None
) -> None:  # fmt: skip
    """Differs if a function gives something else than ours. Where it does not run, ours may, the first two excepted."""
    given = prepared(arguments(s), s)
    leaves = _situations.leaves_of(given)
    try:
        theirs, slopes = known or tried(function, given, leaves, source, s)
    except Misbehaves:
        raise
    except (CannotRun, Unread):
        if s in (FIRST, AGAIN):
            raise
        return
    answer = ours.answer
    wide = [a.float() if s.in_half and isinstance(a, Tensor) else a for a in given]
    expected, own = _trials.outcome(_situations.bound(answer, s), wide, leaves)
    same_type = _trials.outcome(_situations.bound(answer, s), given)[0] if s.in_half else expected
    if not _situations.like(theirs, same_type):
        raise Differs(f"it returns {described(theirs)}, ours {described(expected)}")
    if not _situations.close(theirs, expected, s):
        raise Differs("it computes something else" + (f" ({s})" if s is not FIRST else ""))
    if not all(alike(slope, mine) for slope, mine in zip(slopes, own)):
        raise Differs("its gradient is another one")


@contextlib.contextmanager
def with_ours(kernels: Sequence[Foreign]) -> Iterator[None]:
    """Inside, `apply` of those of these autograd functions that are ours is ours."""
    done: list[Foreign] = []
    try:
        for kernel in kernels:
            with contextlib.suppress(Differs, CannotRun):
                kernel.apply = staticmethod(role_of(kernel).build(kernel))
                done.append(kernel)
        yield
    finally:
        for kernel in done:
            del kernel.apply


def tried(function: Function, given: Arguments, leaves: tuple[Tensor, ...], source: Foreign, s: Situation) -> Outcome:
    """What a function gives in a situation; no gradients where it has none for autograd."""
    call, leaves = _situations.bound(function, s), () if id(source) in no_gradients else leaves
    try:
        return called(call, given, leaves, source, s.on_gpu)
    except Misbehaves:
        raise
    except CannotRun:
        if not leaves:
            raise
        found = called(call, given, (), source, s.on_gpu)[0]
        no_gradients.add(id(source))
        return found, []


no_gradients: set[int] = set()
needs_gpu: set[int] = set()


def launched_by(source: Foreign) -> bool:
    """Whether kernels were computed when it was called: they are slow."""
    return id(source) in has_kernels


has_kernels: set[int] = set()


def called(
    function: Function, arguments: Arguments, leaves: tuple[Tensor, ...] = (), source: Foreign = None,
    on_gpu: bool = False,
) -> Outcome:  # fmt: skip
    """What a function gives: as it is, or on a GPU that is the CPU, with ours in place of the kernels that are ours.
    Unread if it launches one that is not understood."""
    source = source or function
    if not on_gpu and id(source) not in needs_gpu:
        try:
            return _trials.outcome(function, arguments, leaves, source)
        except Misbehaves:
            raise
        except CannotRun:
            pass
    # What was patched before is ours already.
    kernels = [] if isinstance(source, type) else [k for k in kernels_in(source) if "apply" not in vars(k)]
    with with_ours(kernels):
        computed = launches.computed
        launches.unread.clear()
        launches.tensors.clear()
        found = _trials.outcome(function, arguments, leaves, source, emulated=True)
    if launches.unread:
        construct = launches.unread[0]
        known = f"understood: {construct}" if construct else "known"
        raise Unread(f"the text of its kernel, which says what it sums, is not {known}")
    needs_gpu.update([] if on_gpu else [id(source)])
    has_kernels.update([id(source)] if launches.computed > computed else [])
    return found
