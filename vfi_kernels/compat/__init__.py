"""The call signatures of other libraries, a module each: change the import, keep the calls; or `patch` a repository."""

from vfi_kernels.compat import (
    adacof,
    basicsr,
    costvol,
    dsepconv,
    ebme,
    ifrnet,
    mmcv,
    raft,
    rife,
    sbnet,
    sepconv,
    softsplat,
    spatial_correlation_sampler,
    torchvision,
    xvfi,
)
from vfi_kernels.compat._patching import PatchReport, patch, unpatch

__all__ = [
    "PatchReport",
    "adacof",
    "basicsr",
    "costvol",
    "dsepconv",
    "ebme",
    "ifrnet",
    "mmcv",
    "patch",
    "raft",
    "rife",
    "sbnet",
    "sepconv",
    "softsplat",
    "spatial_correlation_sampler",
    "torchvision",
    "unpatch",
    "xvfi",
]
