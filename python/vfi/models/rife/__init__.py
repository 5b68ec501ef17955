"""RIFE (Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022) and RIFEm, its
variant for arbitrary times, on vfi_kernels. `load` takes the public checkpoints."""

from vfi.models.rife.config import Config
from vfi.models.rife.model import RIFE, Explanation, Result, load, load_for_command

__all__ = ["RIFE", "Config", "Explanation", "Result", "load", "load_for_command"]
