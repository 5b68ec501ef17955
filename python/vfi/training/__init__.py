"""Training: what all models share. A model's own losses and stages are an `Objective` in its package."""

from vfi.training.job import Job
from vfi.training.loop import train
from vfi.training.objective import Group, Objective, Outcome, Stage

__all__ = ["Group", "Job", "Objective", "Outcome", "Stage", "train"]
