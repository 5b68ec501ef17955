"""RDVFI (Realtime Video Frame Interpolation Using One-Step Diffusion Sampling, ICLR 2026) on vfi_kernels: one step of
latent video diffusion at a low resolution determines continuous trajectories of the pixels, along which both frames
are splatted to any time at any resolution."""

from vfi.models.rdvfi.diffusion import EmptyPrompt, SVDDiffusion, WanDiffusion, widened
from vfi.models.rdvfi.estimator import Motion, TrajectoryEstimator
from vfi.models.rdvfi.explanation import Explanation
from vfi.models.rdvfi.files import from_backbone, load, tiny
from vfi.models.rdvfi.model import RDVFI
from vfi.models.rdvfi.synthesis import FrameSynthesis
from vfi.models.rdvfi.trajectory import Trajectory

__all__ = [
    "RDVFI",
    "EmptyPrompt",
    "Explanation",
    "FrameSynthesis",
    "Motion",
    "SVDDiffusion",
    "Trajectory",
    "TrajectoryEstimator",
    "WanDiffusion",
    "from_backbone",
    "load",
    "tiny",
    "widened",
]
