"""Packages whose public names are loaded when first asked for: `vfi --help` reads options without torch."""

import importlib
from collections.abc import Callable, Sequence


def lazily(
    package: str, names: Sequence[str], modules: Sequence[str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__`: each of `names` is found in the first of `modules`, below it, that has
    it."""

    def load(name: str) -> object:
        for module in modules if name in names else ():
            members: dict[str, object] = vars(importlib.import_module(f"{package}.{module}"))
            if name in members:
                return members[name]
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load, lambda: sorted(names)
