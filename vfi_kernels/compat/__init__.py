"""The call signatures of other libraries, one module each: change the import, keep the calls."""

from vfi_kernels.compat import mmcv, torchvision

__all__ = ["mmcv", "torchvision"]
