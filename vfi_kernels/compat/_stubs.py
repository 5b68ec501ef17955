"""Stand-ins for cupy, torchvision.ops, mmcv.ops and spatial_correlation_sampler: what a repository imports for its
kernels, without the kernels."""

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NoReturn

from vfi_kernels.compat import _launches, mmcv, spatial_correlation_sampler, torchvision


class Stub(ModuleType):
    """A module that has what it was given; any other attribute is an error that says so."""

    def __init__(self, name: str, **attributes: object):
        super().__init__(name)
        self.__path__: list[str] = []
        self.__spec__ = ModuleSpec(name, None, is_package=True)
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(absent(self.__name__, name))


def absent(module: str, name: str) -> str:
    return f"'{module}' here is the stand-in of `python -m vfi_kernels.compat run`, which has no '{name}'"


class StubFinder(MetaPathFinder):
    """Says of a module below a stand-in that it is not there."""

    def __init__(self, stubs: dict[str, Stub]):
        self.stubs = stubs

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        package, _, module = name.rpartition(".")
        if package in self.stubs:
            raise ModuleNotFoundError(absent(package, module))


class NoKernel(_launches.Kernel):
    """In place of a kernel of CuPy: made when a module is imported, refused when it is launched outside of a trial."""

    outside = (
        "a kernel of CuPy was launched: expected vfi_kernels to replace the function that launches it; "
        "`python -m vfi_kernels.compat run` lists what it replaced, and what it left and why"
    )


class NoOtherKernel(_launches.OtherKernel):
    outside = NoKernel.outside


class NoArray:
    """cupy.ndarray: nothing is one."""


def cupy_stubs() -> dict[str, Stub]:
    """The names of CuPy that CuPy kernels in strings use, on the way to a launch."""
    kernels = {name: NoKernel for name in ("RawKernel", "RawModule")}
    others = {name: NoOtherKernel for name in ("ElementwiseKernel", "ReductionKernel")}
    cuda = Stub("cupy.cuda", compile_with_cache=NoKernel, get_cuda_path=lambda: "", is_available=lambda: False)
    util = Stub("cupy.util", memoize=_launches.memoize)
    names = {**_launches.NUMBERS, **kernels, **others, "__version__": "13.0.0+vfi_kernels"}
    cupy = Stub("cupy", cuda=cuda, util=util, _util=util, memoize=_launches.memoize, ndarray=NoArray, **names)
    return {"cupy": cupy, "cupy.cuda": cuda, "cupy.util": util, "cupy._util": util}


def torchvision_stubs() -> dict[str, Stub]:
    layers = {"deform_conv2d": torchvision.deform_conv2d, "DeformConv2d": torchvision.DeformConv2d}
    module = Stub("torchvision.ops.deform_conv", **layers)
    ops = Stub("torchvision.ops", deform_conv=module, **layers)
    top = Stub("torchvision", ops=ops, __version__="0.28.0+vfi_kernels")
    return {"torchvision": top, "torchvision.ops": ops, "torchvision.ops.deform_conv": module}


MMCV_OPS = {  # modules of mmcv.ops, and what each has
    "correlation": ("Correlation",),
    "deform_conv": ("deform_conv2d", "DeformConv2d", "DeformConv2dPack"),
    "masked_conv": ("masked_conv2d", "MaskedConv2d"),
    "modulated_deform_conv": ("modulated_deform_conv2d", "ModulatedDeformConv2d", "ModulatedDeformConv2dPack"),
}


def mmcv_stubs(whole: bool) -> dict[str, Stub]:
    """mmcv.ops, and if `whole` mmcv itself."""
    modules = {}
    for module, names in MMCV_OPS.items():
        modules[module] = Stub(f"mmcv.ops.{module}", **{name: getattr(mmcv, name) for name in names})
    layers = {name: getattr(mmcv, name) for names in MMCV_OPS.values() for name in names}
    ops = Stub("mmcv.ops", **modules, **{name: layer for name, layer in layers.items() if name not in modules})
    stubs = {"mmcv.ops": ops, **{f"mmcv.ops.{name}": module for name, module in modules.items()}}
    return stubs | ({"mmcv": Stub("mmcv", ops=ops, __version__="2.2.0+vfi_kernels")} if whole else {})


def sampler_stubs() -> dict[str, Stub]:
    names = spatial_correlation_sampler.__all__
    module = "spatial_correlation_sampler"
    return {module: Stub(module, **{name: getattr(spatial_correlation_sampler, name) for name in names})}


def install() -> list[str]:
    """Puts the stand-ins into sys.modules and returns their names.

    cupy always: its kernels are not needed. torchvision and spatial_correlation_sampler only where they are not
    installed, mmcv.ops only where mmcv has no compiled operations.
    """
    stubs = cupy_stubs()
    if importlib.util.find_spec("torchvision") is None:
        stubs |= torchvision_stubs()
    no_mmcv = importlib.util.find_spec("mmcv") is None
    if no_mmcv or importlib.util.find_spec("mmcv._ext") is None:
        stubs |= mmcv_stubs(whole=no_mmcv)
    if importlib.util.find_spec("spatial_correlation_sampler") is None:
        stubs |= sampler_stubs()
    sys.modules.update(stubs)
    sys.meta_path.insert(0, StubFinder(stubs))
    return sorted(stubs)
