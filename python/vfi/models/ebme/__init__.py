"""EBME (Jin et al., Enhanced Bi-directional Motion Estimation for Video Frame Interpolation, WACV 2023) on vfi_kernels:
its flow network, and interpolation by splatting along that flow. `load` takes the public checkpoint."""

from vfi.models.ebme.flow import BiFlowNet, levels_for, load
from vfi.models.ebme.model import EBMESplat, load_for_command

__all__ = ["BiFlowNet", "EBMESplat", "levels_for", "load", "load_for_command"]
