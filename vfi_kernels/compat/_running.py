"""`python -m vfi_kernels.compat run script.py`: a repository's script with our functions in place of its own."""

import ast
import functools
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType, ModuleType

from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat import _patching, _roles, _stubs, _targets
from vfi_kernels.compat._folders import library_folders

PATCHED_LIBRARIES = ("torchvision.ops", "mmcv.ops")
REPLACE, TRY_LATER, TRY_METHOD_LATER = (
    f"__vfi_kernels_{what}__" for what in ("replace", "try_later", "try_method_later")
)


def run(script: Path, arguments: Sequence[str], report: _patching.PatchReport) -> None:
    """Runs `script` as __main__, as `python script arguments` would; what was replaced is added to `report`."""
    _stubs.install()
    library_folders()  # before the finder, which asks for them, sees what they import
    sys.meta_path.insert(0, PatchingFinder(report))
    sys.argv = [str(script), *arguments]
    sys.path[0] = str(script.resolve().parent)
    main = ModuleType("__main__")
    main.__dict__.update(__file__=str(script.absolute()), __builtins__=__builtins__)
    main.__dict__[REPLACE] = lambda value: replace_in_script(value, report)
    main.__dict__[TRY_LATER] = lambda function: tried_when_called(function, False, report)
    main.__dict__[TRY_METHOD_LATER] = lambda function: tried_when_called(function, True, report)
    sys.modules["__main__"] = main
    exec(compile(with_replacements(ast.parse(script.read_bytes(), str(script))), str(script), "exec"), vars(main))


class Marking(ast.NodeTransformer):
    """Decorates the functions, methods and classes that patch would try, those inside functions excepted."""

    def __init__(self) -> None:
        self.inside_class = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if _roles.TRIED.search(node.name) or any(
            isinstance(n, ast.Attribute) and n.attr == "grid_sample" for n in ast.walk(node)
        ):
            static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
            self.mark(
                node, TRY_METHOD_LATER if self.inside_class and not static else TRY_LATER, len(node.decorator_list)
            )
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        if _roles.TRIED.search(node.name):
            self.mark(node, REPLACE, 0)
        before, self.inside_class = self.inside_class, True
        self.generic_visit(node)
        self.inside_class = before
        return node

    def mark(self, node: ast.FunctionDef | ast.ClassDef, name: str, place: int) -> None:
        decorator = ast.copy_location(ast.Name(name, ast.Load()), node)
        node.decorator_list.insert(place, decorator)


def with_replacements(tree: ast.Module) -> ast.Module:
    marked: ast.Module = Marking().visit(tree)
    return marked


def tried_when_called(function: Function, method: bool, report: _patching.PatchReport) -> Function:
    """`function` of a script, judged at its first call: then what it uses is defined, and a method has its object."""
    chosen: list[Function] = []
    choose = _patching.chosen_for  # of its closure: its globals will be the script's

    def call(*args: object, **kwargs: object) -> object:
        if not chosen:
            chosen.append(choose(function, method, args[0] if method and args else None, report))
        return chosen[0](*args, **kwargs)

    # torch.jit.script compiles `function`, and looks for its names in these globals.
    built = FunctionType(call.__code__, function.__globals__, closure=call.__closure__)
    wrapped: Foreign = functools.wraps(function)(built)
    wrapped.__prepare_scriptable__ = lambda: function
    found: Function = wrapped
    return found


def replace_in_script(value: Function, report: _patching.PatchReport) -> object:
    """`value`, a class that the script has just defined, or what takes its place."""
    holder = ModuleType("__main__")
    setattr(holder, value.__name__, value)
    its_place = [place for place in _targets.places([holder], ()) if place.owner is holder and place.value is value]
    _patching.patch_places(its_place, False, report)
    return getattr(holder, value.__name__)


class PatchingFinder(MetaPathFinder):
    """Patches each module right after it ran: of the repository, and of the layers of torchvision and mmcv."""

    def __init__(self, report: _patching.PatchReport):
        self.report = report

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None and self.wants(name, spec):
            spec.loader = PatchingLoader(spec.loader, self.report)
            return spec
        return None

    def wants(self, name: str, spec: ModuleSpec) -> bool:
        if name.startswith(PATCHED_LIBRARIES):
            return True
        origin = str(Path(spec.origin).resolve()) if spec.origin else ""
        return bool(origin) and not origin.startswith(library_folders()) and name.partition(".")[0] != "vfi_kernels"


class PatchingLoader(Loader):
    """A loader that patches what another one has loaded."""

    def __init__(self, loader: Loader, report: _patching.PatchReport):
        self.loader, self.report = loader, report

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        _patching.patch_places(_targets.places([module], ()), False, self.report)
