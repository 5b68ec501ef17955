"""`patch` and `unpatch`: our functions in place of those of an imported repository."""

import functools
import inspect
import os
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from torch import nn

from vfi_kernels._types import Function
from vfi_kernels.compat import _roles, mmcv, torchvision

__all__ = ["Left", "PatchReport", "Replaced", "patch", "unpatch"]


@dataclass(frozen=True)
class Replaced:
    """`place` (module.name) is now `by` (a name of vfi_kernels.compat); `reason`: how it was recognised."""

    place: str
    by: str
    reason: str


@dataclass(frozen=True)
class Left:
    """`place` looked like something we replace, and stayed; `reason`: why."""

    place: str
    reason: str


@dataclass
class PatchReport:
    """What `patch` did, or with dry_run would do; str() of it is the same in lines."""

    replaced: list[Replaced] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"replaced {r.place} by {r.by}: {r.reason}" for r in self.replaced]
        lines += [f"left {item.place}: {item.reason}" for item in self.left]
        return "\n".join(lines) or "nothing to replace was found"


@dataclass(frozen=True)
class Change:
    """`owner`.`name` was `old` before it became `new`."""

    owner: object
    name: str
    old: object
    new: object


changes: list[Change] = []  # in the order in which they were made


def patch(target: ModuleType | nn.Module, *, dry_run: bool = False) -> PatchReport:
    """Puts vfi_kernels' functions in place of those that a repository carries.

    Recognised by name and parameters, under any alias, and not run: softsplat, softsplat_func, FunctionSoftsplat,
    ModuleSoftsplat, FunctionCorrelation, ModuleCorrelation, deform_conv2d, DeformConv2d, ModulatedDeformConv2d and its
    Pack; unless they are in plain torch and compute something else. Recognised by what they compute: functions and
    methods named warp, backwarp, bwarp, flow_warp or backward_warp, of an image and a flow. Each is called with small
    images, what it changed is put back, and the function of compat with the same results and gradients takes its
    place. One that cannot run stays, unless only for want of a GPU: then it is taken by name and parameters.

    Args:
        target: a module; a package, which stands for all of its modules that are imported; or an nn.Module, which
            stands for the modules that define the classes of its parts, those they import from the same folders, and
            its parts that are layers of torchvision or mmcv; methods are tried on its own parts. Only names in these
            modules change: give the module in which a function is used, or import it after patching the one that
            defines it.
        dry_run: report only.

    Returns:
        What was replaced, and what was left and why.

    Raises:
        TypeError: if target is nothing of the above.
    """
    report = PatchReport()
    if isinstance(target, nn.Module):
        modules = modules_of(target)
        patch_layers(target, dry_run, report)
    elif isinstance(target, ModuleType):
        modules = package_modules(target, report)
    else:
        raise TypeError(f"patch: expected a module, a package or an nn.Module, got {type(target).__name__}")
    parts = {type(part): part for part in target.modules()} if isinstance(target, nn.Module) else {}
    for module in modules:
        patch_names(module, dry_run, report, parts)
    return report


def unpatch() -> int:
    """Undoes every `patch` of this process and returns how many names changed back; others' later changes stay."""
    undone = 0
    while changes:
        change = changes.pop()
        is_class = change.name == "__class__"
        current = type(change.owner) if is_class else vars(change.owner).get(change.name)
        if current is change.new:
            setattr(change.owner, change.name, change.old)
            undone += 1
    return undone


def patch_names(
    module: ModuleType, dry_run: bool, report: PatchReport, parts: dict[type, nn.Module] | None = None
) -> None:
    """Judges every name of a module and of the classes that it defines; `parts`: an object of each class."""
    for owner, prefix, method in namespaces(module):
        for name, value in list(vars(owner).items()):
            takes_self = method and not isinstance(value, staticmethod)
            if takes_self and getattr(value, "__qualname__", "") != f"{owner.__qualname__}.{name}":
                continue  # a function of the module under a name of the class
            instance = (
                next((part for kind, part in (parts or {}).items() if issubclass(kind, owner)), None)
                if method
                else None
            )
            verdict = _roles.judge(value, takes_self, instance)
            apply_verdict(owner, name, value, verdict, f"{prefix}.{name}", takes_self, dry_run, report)


def chosen_for(function: Function, method: bool, instance: object, report: PatchReport) -> Function:
    """`function` of a script, or what takes its place."""
    verdict = _roles.judge(function, method, instance)
    place = f"__main__.{function.__qualname__}"
    if verdict is None or verdict.replacement is None:
        report.left += [] if verdict is None else [Left(place, verdict.reason)]
        return function
    report.replaced.append(Replaced(place, path_of(verdict.replacement), verdict.reason))
    found: Function = stand_in(function, verdict.replacement, method)
    return found


def apply_verdict(
    owner: object,
    name: str,
    value: object,
    verdict: _roles.Verdict | None,
    place: str,
    method: bool,
    dry_run: bool,
    report: PatchReport,
) -> None:
    if verdict is None:
        return
    if verdict.replacement is None:
        report.left.append(Left(place, verdict.reason))
        return
    if not dry_run:
        change(owner, name, value, stand_in(value, verdict.replacement, method))
    report.replaced.append(Replaced(place, path_of(verdict.replacement), verdict.reason))


def change(owner: object, name: str, old: object, new: object) -> None:
    setattr(owner, name, new)
    changes.append(Change(owner, name, old, new))


def path_of(ours: Function) -> str:
    return f"{ours.__module__}.{ours.__qualname__}".removeprefix("vfi_kernels.")


def stand_in(original: object, ours: Function, method: bool) -> Any:
    """`ours` for the calls that `original` takes: its names of parameters, its defaults, its self."""
    if isinstance(original, staticmethod):
        return staticmethod(stand_in(original.__func__, ours, False))
    if not inspect.isfunction(original):
        return ours
    parameters = list(inspect.signature(original).parameters.values())
    theirs = [(p.name, p.default) for p in parameters]
    own = [(p.name, p.default) for p in inspect.signature(ours).parameters.values()]
    more = [default for _, default in own[len(theirs) :]]
    if not method and own[: len(theirs)] == theirs and inspect.Parameter.empty not in more:
        return ours
    names = [p.name for p in parameters]
    values = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}

    @functools.wraps(ours)
    def call(*args: object, **kwargs: object) -> object:
        given = {**values, **dict(zip(names, args)), **kwargs}
        if len(given) != len(names) or len(args) > len(names):
            named = f"{', '.join(names)}, got {', '.join(given)}" + " and more" * (len(args) > len(names))
            raise TypeError(f"{original.__name__}: expected the arguments {named}")
        return ours(*[given[name] for name in names[1 if method else 0 :]])

    return call


def namespaces(module: ModuleType) -> Iterator[tuple[Any, str, bool]]:
    """The module and the classes that it defines: where names are, what they are called, whether they are methods."""
    yield module, module.__name__, False
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            yield value, f"{module.__name__}.{value.__qualname__}", True


def package_modules(target: ModuleType, report: PatchReport) -> list[ModuleType]:
    """The module and, of a package, those below it that are imported; the others are reported."""
    found = [target]
    for info in pkgutil.iter_modules(getattr(target, "__path__", [])):
        name = f"{target.__name__}.{info.name}"
        below = sys.modules.get(name)
        if below is None:
            report.left.append(Left(name, "it is not imported"))
        else:
            found += package_modules(below, report)
    return found


def modules_of(model: nn.Module) -> list[ModuleType]:
    """The modules that define the classes of a model's parts, and those of the same folders that these refer to."""
    defining = {type(part).__module__ for part in model.modules()}
    found = [sys.modules[name] for name in sorted(defining) if name in sys.modules and not installed(name)]
    folders = {folder_of(module) for module in found}
    for module in found:  # grows
        for value in list(vars(module).values()):
            name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            other = sys.modules.get(name) if isinstance(name, str) else None
            if (
                other is not None
                and other not in found
                and folder_of(other) in folders
                and not installed(other.__name__)
            ):
                found.append(other)
    return found


def installed(name: str) -> bool:
    """Whether a module is a library's: its functions are not those of a repository."""
    return name.partition(".")[0] in ("torch", "torchvision", "mmcv", "vfi_kernels", "builtins")


def folder_of(module: ModuleType) -> str:
    return os.path.dirname(getattr(module, "__file__", None) or "")


LAYERS: dict[tuple[str, str], type] = {
    ("torchvision", "DeformConv2d"): torchvision.DeformConv2d,
    ("mmcv", "ModulatedDeformConv2d"): mmcv.ModulatedDeformConv2d,
    ("mmcv", "ModulatedDeformConv2dPack"): mmcv.ModulatedDeformConv2dPack,
}


def patch_layers(model: nn.Module, dry_run: bool, report: PatchReport) -> None:
    """Turns the parts that are layers of a library into ours, which have the same parameters and attributes."""
    for name, part in model.named_modules():
        kind = type(part)
        ours = LAYERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if ours is None:
            continue
        place = f"{type(model).__name__}.{name}" if name else type(model).__name__
        if not dry_run:
            change(part, "__class__", kind, ours)
        report.replaced.append(Replaced(place, path_of(ours), "by its class"))
