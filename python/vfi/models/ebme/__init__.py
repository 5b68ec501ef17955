"""EBME (Jin et al., Enhanced Bi-directional Motion Estimation for Video Frame Interpolation, WACV 2023) on vfi_kernels:
its flow network, and interpolation by splatting along that flow. `load` takes the public checkpoint."""

from typing import TYPE_CHECKING

from vfi.models.lazy import lazily

if TYPE_CHECKING:
    from vfi.models.ebme.flow import BiFlowNet, levels_for, load
    from vfi.models.ebme.model import EBMESplat

__all__ = ["BiFlowNet", "EBMESplat", "levels_for", "load"]
__getattr__, __dir__ = lazily(__name__, __all__, ("flow", "model"))
