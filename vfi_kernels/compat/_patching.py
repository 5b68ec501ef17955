"""`patch` and `unpatch`: our functions in place of those of an imported repository."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import CellType, ModuleType

from torch import nn

from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat import _roles, _targets, mmcv, torchvision
from vfi_kernels.compat._report import Left, PatchReport, Replaced
from vfi_kernels.compat._spaces import StandIn
from vfi_kernels.compat._targets import Place

__all__ = ["Left", "PatchReport", "Replaced", "patch", "unpatch"]

MISSING = object()


@dataclass(frozen=True)
class Change:
    """`owner`.`name` was `old` before it became `new`."""

    owner: Foreign
    name: str
    old: object
    new: object


changes: list[Change] = []  # in the order in which they were made
stand_ins: dict[tuple[int, bool], tuple[object, Foreign]] = {}  # of functions, by their id and whether they take self


def patch(target: object, *, dry_run: bool = False) -> PatchReport:
    """Puts vfi_kernels' functions in place of those that a repository carries, where they compute the same.

    Tried are functions and methods, under any alias, whose names have to do with warps, splats, correlations and
    deformable convolutions, and all that call grid_sample; a name decides nothing else. Each is called with small
    pictures, in a process of its own, on a GPU that is the CPU if it wants one; kernels of CuPy are computed there from
    their text in CUDA C. One whose values and gradients are ours is replaced, for the calls that were tried; every
    other call, torch.jit.script and torch.fx get the original. What raises, hangs, prints, writes into its arguments,
    or wants a file or the network stays.

    Args:
        target: a module; a package, which stands for all of its modules that are imported; an nn.Module, or an object
            that holds some, which stand for the modules that define the classes of their parts, those of the same
            package and those they refer to in the same folders, and for their parts that are layers of torchvision or
            mmcv; methods are tried on these parts. Only names in these modules, their classes and closures change:
            give the module in which a function is used, or import it after patching the one that defines it.
        dry_run: report only.

    Returns:
        What was replaced, and what was left and why.

    Raises:
        TypeError: if target is nothing of the above.
    """
    report = PatchReport()
    objects: list[Foreign] = []
    if isinstance(target, ModuleType):
        modules, missing = _targets.package_modules(target)
        report.left += [Left(name, "it is not imported") for name in missing]
    else:
        _targets.expect_target(target)
        objects = _targets.objects_in(target)
        modules = _targets.modules_of(objects)
        patch_layers([part for part in objects if isinstance(part, nn.Module)], dry_run, report)
    patch_places(_targets.places(modules, objects), dry_run, report)
    return report


def unpatch() -> int:
    """Undoes every `patch` of this process and returns how many names changed back; others' later changes stay."""
    undone = 0
    while changes:
        change = changes.pop()
        if current(change.owner, change.name) is change.new:
            if change.old is MISSING:
                delattr(change.owner, change.name)
            else:
                setattr(change.owner, change.name, change.old)
            undone += 1
    stand_ins.clear()
    return undone


def current(owner: Foreign, name: str) -> object:
    if name == "__class__":
        return type(owner)
    return owner.cell_contents if isinstance(owner, CellType) else vars(owner).get(name, MISSING)


def patch_places(places: Iterable[Place], dry_run: bool, report: PatchReport) -> None:
    """Judges what is in each place, all of them at once, and changes those that are ours."""
    found: list[tuple[Place, _roles.Candidate]] = []
    for place in places:
        owner = place.owner if place.in_class else None
        c = _roles.candidate(place.value, place.in_class, owner, place.instance, place.name)
        found += [] if c is None else [(place, c)]
    for (place, c), verdict in zip(found, _roles.verdicts([c for _, c in found])):
        if verdict is None:
            continue
        if verdict.plan is None:
            report.left.append(Left(place.path, verdict.reason))
            continue
        if not dry_run:
            put(place, c, verdict.plan)
        report.replaced.append(Replaced(place.path, verdict.plan.by, verdict.reason))


def put(place: Place, c: _roles.Candidate, plan: _roles.Plan) -> None:
    """What `plan` says in a place; of an autograd function its `apply`, wherever the class is used."""
    new = stand_in(c, plan)
    if _roles.is_function_of_autograd(place.value):
        if vars(place.value).get("apply", MISSING) is MISSING:
            change(place.value, "apply", MISSING, StandIn(new))
        return
    if isinstance(place.value, staticmethod):
        held = stand_ins.setdefault((id(place.value), False), (place.value, staticmethod(new)))
        change(place.owner, place.name, place.value, held[1])
    else:
        change(place.owner, place.name, place.value, new)
    give_name(new, c.function, place)


def stand_in(c: _roles.Candidate, plan: _roles.Plan) -> Foreign:
    """What takes the place of a function, the same one in every place."""
    key = id(c.function), c.takes_self
    if key not in stand_ins:
        stand_ins[key] = c.function, plan.build(c.function)
    return stand_ins[key][1]


def give_name(new: Foreign, original: Foreign, place: Place) -> None:
    """A name under which pickle finds it: that of the original, or else that of its place."""
    if not hasattr(new, "__vfi_kernels__"):
        return
    above = () if isinstance(place.owner, ModuleType) else (getattr(place.owner, "__qualname__", "?"),)
    module = place.owner.__name__ if isinstance(place.owner, ModuleType) else getattr(place.owner, "__module__", "")
    for module_name, name in ((original.__module__, original.__qualname__), (module, ".".join((*above, place.name)))):
        found: Foreign = sys.modules.get(module_name)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is new:
            new.__module__, new.__qualname__ = module_name, name
            return


def change(owner: Foreign, name: str, old: object, new: object) -> None:
    setattr(owner, name, new)
    changes.append(Change(owner, name, old, new))


def chosen_for(function: Function, method: bool, instance: object, report: PatchReport) -> Function:
    """`function` of a script, or what takes its place."""
    c = _roles.candidate(function, method, type(instance) if method else None, instance)
    verdict = _roles.verdicts([c])[0] if c else None
    place = f"__main__.{function.__qualname__}"
    if c is None or verdict is None or verdict.plan is None:
        report.left += [] if verdict is None else [Left(place, verdict.reason)]
        return function
    report.replaced.append(Replaced(place, verdict.plan.by, verdict.reason))
    found: Function = verdict.plan.build(c.function)
    return found


LAYERS: dict[tuple[str, str], type] = {
    ("torchvision", "DeformConv2d"): torchvision.DeformConv2d,
    ("mmcv", "ModulatedDeformConv2d"): mmcv.ModulatedDeformConv2d,
    ("mmcv", "ModulatedDeformConv2dPack"): mmcv.ModulatedDeformConv2dPack,
}


def patch_layers(parts: Iterable[nn.Module], dry_run: bool, report: PatchReport) -> None:
    """Turns the parts that are layers of a library into ours, which have the same parameters and attributes."""
    roots = list(parts)
    names = {id(part): name for root in roots[:1] for name, part in root.named_modules()}
    for part in roots:
        kind = type(part)
        ours = LAYERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if ours is None:
            continue
        place = ".".join(filter(None, (type(roots[0]).__name__, names.get(id(part), kind.__name__))))
        if not dry_run:
            change(part, "__class__", kind, ours)
        by = f"{ours.__module__}.{ours.__qualname__}".removeprefix("vfi_kernels.")
        report.replaced.append(Replaced(place, by, "by its class"))
