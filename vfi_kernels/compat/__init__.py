"""The call signatures of other libraries, a module each: change the import, keep the calls; or `patch` a repository."""

from vfi_kernels.compat import basicsr, ebme, ifrnet, mmcv, rife, sbnet, softsplat, torchvision, xvfi
from vfi_kernels.compat._patching import PatchReport, patch, unpatch

__all__ = [
    "PatchReport",
    "basicsr",
    "ebme",
    "ifrnet",
    "mmcv",
    "patch",
    "rife",
    "sbnet",
    "softsplat",
    "torchvision",
    "unpatch",
    "xvfi",
]
