"""RDVFI (Realtime Video Frame Interpolation Using One-Step Diffusion Sampling, ICLR 2026) on vfi_kernels: one step of
latent video diffusion at a low resolution determines continuous trajectories of the pixels, along which both frames
are splatted to any time at any resolution."""

from typing import TYPE_CHECKING

from vfi.models.lazy import lazily

if TYPE_CHECKING:
    from vfi.models.rdvfi.diffusion import EmptyPrompt, SVDDiffusion, WanDiffusion, widened
    from vfi.models.rdvfi.estimator import EstimatedMotion, TrajectoryEstimator
    from vfi.models.rdvfi.explanation import TrajectoryExplanation
    from vfi.models.rdvfi.files import from_backbone, load, tiny
    from vfi.models.rdvfi.model import RDVFI
    from vfi.models.rdvfi.synthesis import FrameSynthesis
    from vfi.models.rdvfi.trajectory import Trajectory

__all__ = [
    "RDVFI",
    "EmptyPrompt",
    "EstimatedMotion",
    "FrameSynthesis",
    "SVDDiffusion",
    "Trajectory",
    "TrajectoryEstimator",
    "TrajectoryExplanation",
    "WanDiffusion",
    "from_backbone",
    "load",
    "tiny",
    "widened",
]
__getattr__, __dir__ = lazily(
    __name__, __all__, ("diffusion", "estimator", "explanation", "files", "model", "synthesis", "trajectory")
)
