"""RIFE (Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022) and RIFEm, its
variant for arbitrary times, on vfi_kernels. `load` takes the public checkpoints."""

from typing import TYPE_CHECKING

from vfi.models.lazy import lazily

if TYPE_CHECKING:
    from vfi.models.rife.config import Config
    from vfi.models.rife.explanation import RIFEExplanation
    from vfi.models.rife.model import RIFE, Result, load

__all__ = ["RIFE", "Config", "RIFEExplanation", "Result", "load"]
__getattr__, __dir__ = lazily(__name__, __all__, ("config", "explanation", "model"))
